"""Score rows made by hand or at random, for the tests of everything that aggregates them."""

from __future__ import annotations

from math import inf, nan

import numpy as np

from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import all_subsets, subset_name

BRATS_NAMES = ("FLAIR", "T1", "T1ce", "T2")
AB = ("A", "B")


def row(dice, *, model="ours", fold="0", case="c0", subset="A", region="ET", reference=100, predicted=100, **values):
    """Return a row; Dice of None makes both masks empty, and one of 0 with ``predicted=0`` a missed region."""
    if dice is None:
        reference, predicted = 0, 0
    both_empty, one_empty = reference == predicted == 0, (reference == 0) != (predicted == 0)
    measured = {"dice": dice, "hd95_mm": 20.0 * (1 - (dice or 0)), "nsd": dice}
    if both_empty:
        measured = {"dice": nan, "hd95_mm": nan, "nsd": nan}
    elif one_empty:
        measured = {"dice": 0.0, "hd95_mm": inf, "nsd": 0.0}
    common = {"nsd_tolerance_mm": 1.0, "diagonal_mm": 250.0, "voxel_mm3": 2.0}
    return ScoreRow(
        model=model,
        fold=fold,
        case=case,
        subset=subset,
        num_present=subset.count("+") + 1,
        region=region,
        reference_voxels=reference,
        predicted_voxels=predicted,
        **{**measured, **common, **values},
    )


def rows_of(scores, model="ours", **values):
    """Rows of modalities A and B and one region from {subset: Dice of the cases}."""
    return [
        row(value, model=model, case=f"c{case}", subset=subset, **values)
        for subset, of_subset in scores.items()
        for case, value in enumerate(of_subset)
    ]


def random_rows(models=("ours",), cases=3, regions=("WT", "ET"), modalities=BRATS_NAMES, seed=0):
    """Rows of every model, case, subset and region; the models differ, cases have levels of their own."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(0.3, 0.7, cases)
    return [
        row(
            float(levels[case] + 0.05 * len(subset) + 0.02 * position + rng.uniform(-0.05, 0.05)),
            model=model,
            case=f"c{case}",
            subset=subset_name(subset, modalities),
            region=region,
        )
        for position, model in enumerate(models)
        for case in range(cases)
        for subset in all_subsets(len(modalities))
        for region in regions
    ]
