"""Dice and surface metrics of two masks; every function states its value for empty masks.

``scoring`` computes them for each prediction; ``conventions`` replaces the values of empty masks afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

Mask = NDArray[np.bool_]
LabelMap = NDArray[Any]

BothEmpty = Literal["one", "nan"]
"""The value of Dice if both masks are empty: 1, the convention of BraTS and of the missing-modality literature, or NaN,
nnU-Net's convention, which leaves the case out of the mean."""

PERCENTILE = 95.0
DEFAULT_TOLERANCE_MM = 1.0
# Added to a tolerance, because distances on a grid have rounding errors: without it a tolerance of 0.9 mm would miss a
# neighbour that is 0.3 + 0.6 mm away.
_ROUNDING_MM = 1e-6


def dice(prediction: Mask, reference: Mask, *, both_empty: BothEmpty = "one") -> float:
    """Return the Dice coefficient ``2 |P and R| / (|P| + |R|)`` of two boolean masks of one shape, in 0..1.

    One empty mask gives 0. Two empty masks give 1 for ``both_empty="one"`` and NaN for ``"nan"``, see `BothEmpty`.

    Raises:
        ValueError: the shapes differ, a mask is not boolean, or ``both_empty`` is another word.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"Masks of one shape are compared, got {prediction.shape} and {reference.shape}.")
    if prediction.dtype != np.bool_ or reference.dtype != np.bool_:
        raise ValueError(
            f"Masks are boolean, got {prediction.dtype} and {reference.dtype}: make them with region_mask."
        )
    if both_empty not in ("one", "nan"):
        raise ValueError(f'both_empty is "one" or "nan", got {both_empty!r}.')
    total = int(np.count_nonzero(prediction)) + int(np.count_nonzero(reference))
    if total == 0:
        return 1.0 if both_empty == "one" else float("nan")
    return 2 * int(np.count_nonzero(prediction & reference)) / total


def region_mask(labels: LabelMap, region: Sequence[int], *, counted: Mask | None = None) -> Mask:
    """Return the mask of the voxels with one of the region's labels; with ``counted``, only those inside of it."""
    mask: Mask = np.isin(labels, np.asarray(region))
    return mask if counted is None else mask & counted


def region_dice(
    prediction: LabelMap,
    reference: LabelMap,
    regions: Mapping[str, Sequence[int]],
    *,
    ignore_label: int | None = None,
    both_empty: BothEmpty = "one",
) -> dict[str, float]:
    """Return the Dice coefficient of every region of two label maps of one shape, by the region's name.

    Voxels at which the reference holds ``ignore_label`` are ignored in both label maps.

    Raises:
        ValueError: as for `dice`.
    """
    counted = None if ignore_label is None else reference != ignore_label
    if counted is not None and counted.shape != prediction.shape:
        raise ValueError(f"Label maps of one shape are compared, got {prediction.shape} and {reference.shape}.")
    return {
        name: dice(
            region_mask(prediction, region, counted=counted),
            region_mask(reference, region, counted=counted),
            both_empty=both_empty,
        )
        for name, region in regions.items()
    }


def bounding_box(mask: Mask) -> NDArray[np.int64]:
    """Return the first index and one past the last of the true voxels along each axis; zeros if there are none."""
    if not mask.any():
        return np.zeros((2, mask.ndim), np.int64)
    spans = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        spans.append((inside[0], inside[-1] + 1))
    return np.array(spans, np.int64).T


class Surface:
    """The surface of one mask as points in mm, indexed for a search of nearest points."""

    def __init__(self, mask: Mask, spacing_mm: Sequence[float], *, origin: Sequence[int] | None = None) -> None:
        """Find the surface of a boolean mask, whose axes are those of ``spacing_mm``.

        If the mask was cut out of an image, ``origin`` is the position of its first voxel there, in voxels.

        Raises:
            ValueError: ``spacing_mm`` has another length than the mask has axes, or is not positive.
        """
        if len(spacing_mm) != mask.ndim or not all(0 < step < np.inf for step in spacing_mm):
            raise ValueError(f"A mask of {mask.ndim} axes needs as many positive spacings in mm, got {spacing_mm}.")
        edge = mask & ~binary_erosion(mask)
        voxels = np.argwhere(edge) + np.asarray(origin if origin is not None else [0] * mask.ndim)
        self.points_mm: NDArray[np.float64] = voxels * np.asarray(spacing_mm, np.float64)  # N x axes
        # For points on a grid, a tree that is neither balanced nor compact is several times faster to build and query.
        self._tree = cKDTree(self.points_mm, balanced_tree=False, compact_nodes=False) if len(self.points_mm) else None

    def __len__(self) -> int:
        return len(self.points_mm)

    def distances_mm(self, other: Surface) -> NDArray[np.float64]:
        """Return each point's distance to the nearest point of the other surface; infinity if that has no points."""
        if other._tree is None:
            return np.full(len(self), np.inf)
        distances: NDArray[Any] = other._tree.query(self.points_mm)[0]
        return distances


def surface_scores(prediction: Surface, reference: Surface, *, tolerance_mm: float) -> tuple[float, float]:
    """Return HD95 in mm and the normalised surface Dice (NSD, in 0..1) of two surfaces.

    HD95 = max(P95 of the distances from prediction to reference, P95 of those from reference to prediction), with P95
    the 95th percentile, interpolated linearly: the definition of MONAI and Metrics Reloaded (Maier-Hein et al. 2024).
    medpy and others take the percentile of both sets of distances pooled, which is mostly smaller.

    NSD = (points of the prediction within ``tolerance_mm`` of the reference + points of the reference within
    ``tolerance_mm`` of the prediction) / all points of both (Nikolov et al. 2018, counted in surface voxels, as in
    MONAI).

    If one mask is empty, HD95 is infinite and NSD is 0; if both are, both are NaN. A `Convention` replaces these.

    Raises:
        ValueError: the tolerance is negative or not finite.
    """
    if not 0 <= tolerance_mm < np.inf:
        raise ValueError(f"The tolerance of the surface Dice is 0 mm or more, got {tolerance_mm}.")
    if not len(prediction) and not len(reference):
        return float("nan"), float("nan")
    if not len(prediction) or not len(reference):
        return float("inf"), 0.0
    to_reference, to_prediction = prediction.distances_mm(reference), reference.distances_mm(prediction)
    hd95 = max(float(np.percentile(to_reference, PERCENTILE)), float(np.percentile(to_prediction, PERCENTILE)))
    limit = tolerance_mm + _ROUNDING_MM
    within = int(np.count_nonzero(to_reference <= limit)) + int(np.count_nonzero(to_prediction <= limit))
    return hd95, within / (len(to_reference) + len(to_prediction))
