"""Hard segmentation metrics of one case, between two masks on the original geometry.

Every metric takes two boolean masks, prediction first, of the same shape; label maps become masks in `region_mask`, and
voxels that do not count are taken out there as well. A metric of distance takes ``spacing_mm`` beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
LabelMap = NDArray[Any]

BothEmpty = Literal["one", "nan"]
"""What Dice is when neither mask holds a voxel: 1, the convention of BraTS and of the missing-modality literature, or
NaN, nnU-Net's, which then leaves the case out of the mean."""


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
    """Return where ``labels`` holds one of the region's labels, among the voxels ``counted`` if that is given."""
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

    Voxels at which the reference holds ``ignore_label`` do not count, whatever is predicted there.

    Raises:
        ValueError: as `dice`.
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
