"""Distances between the surfaces of two masks: the 95th-percentile Hausdorff distance and the normalised surface Dice.

A mask's surface is the set of its voxels that have a neighbour outside of it across a face; beyond the image's border
everything is outside. Distances are Euclidean, in millimetres, between voxel centres, from each surface voxel to the
nearest one of the other mask. They are found with k-d trees, whose cost goes with the surfaces and not with the volume,
so that a few false voxels far away cost nothing. The tree of a reference is built once and asked for every prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from nnunet_missingmod.evaluation.metrics import Mask

PERCENTILE = 95.0
DEFAULT_TOLERANCE_MM = 1.0
# Distances on a grid are exact to rounding; without this a tolerance of 0.9 mm misses a neighbour 0.3 + 0.6 mm away.
_ROUNDING_MM = 1e-6


class Surface:
    """The surface of one mask as points in mm, ready to be asked for nearest points."""

    def __init__(self, mask: Mask, spacing_mm: Sequence[float], *, origin: Sequence[int] | None = None) -> None:
        """Find the surface of a boolean mask, whose axes are those of ``spacing_mm``.

        ``origin`` is where the mask's first voxel lies if the mask was cut out of an image, in voxels.

        Raises:
            ValueError: ``spacing_mm`` has another length than the mask has axes, or is not positive.
        """
        if len(spacing_mm) != mask.ndim or not all(0 < step < np.inf for step in spacing_mm):
            raise ValueError(f"A mask of {mask.ndim} axes needs as many positive spacings in mm, got {spacing_mm}.")
        edge = mask & ~binary_erosion(mask)
        voxels = np.argwhere(edge) + np.asarray(origin if origin is not None else [0] * mask.ndim)
        self.points_mm: NDArray[np.float64] = voxels * np.asarray(spacing_mm, np.float64)  # N x axes
        # Neither balanced nor compact: several times faster to build and to ask on the points of a grid.
        self._tree = cKDTree(self.points_mm, balanced_tree=False, compact_nodes=False) if len(self.points_mm) else None

    def __len__(self) -> int:
        return len(self.points_mm)

    def distances_mm(self, other: Surface) -> NDArray[np.float64]:
        """Return the distance of each point to the nearest one of the other surface, infinity if that has none."""
        if other._tree is None:
            return np.full(len(self), np.inf)
        distances: NDArray[Any] = other._tree.query(self.points_mm)[0]
        return distances


def surface_scores(prediction: Surface, reference: Surface, *, tolerance_mm: float) -> tuple[float, float]:
    """Return HD95 in mm and the normalised surface Dice (NSD, in 0..1) of two surfaces.

    HD95 = max(P95 of the distances from prediction to reference, P95 of those from reference to prediction), with P95
    the 95th percentile, interpolated linearly: the definition of MONAI and Metrics Reloaded (Maier-Hein et al. 2024).
    medpy and others take the percentile of both sets of distances pooled, which is mostly smaller.

    NSD = (points of the prediction at most ``tolerance_mm`` from the reference + points of the reference at most as far
    from the prediction) / all points of both (Nikolov et al. 2018, counted in surface voxels, as MONAI does).

    One empty mask gives an infinite HD95 and an NSD of 0; two give NaN for both: see `Convention` for what follows.

    Raises:
        ValueError: the tolerance is negative or not finite.
    """
    if not 0 <= tolerance_mm < np.inf:
        raise ValueError(f"The tolerance of the surface Dice is 0 mm or more, got {tolerance_mm}.")
    if not len(prediction) and not len(reference):
        return float("nan"), float("nan")
    if not len(prediction) or not len(reference):
        return float("inf"), 0.0
    there, back = prediction.distances_mm(reference), reference.distances_mm(prediction)
    hd95 = max(float(np.percentile(there, PERCENTILE)), float(np.percentile(back, PERCENTILE)))
    limit = tolerance_mm + _ROUNDING_MM
    within = int(np.count_nonzero(there <= limit)) + int(np.count_nonzero(back <= limit))
    return hd95, within / (len(there) + len(back))
