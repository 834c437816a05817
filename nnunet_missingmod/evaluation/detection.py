"""Whether a region is found at all: F1 of its presence, and what is predicted where the reference is empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, nan

import numpy as np

from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval
from nnunet_missingmod.evaluation.score_grid import ScoreGrid
from nnunet_missingmod.evaluation.shares import f1_interval, share_interval
from nnunet_missingmod.evaluation.volumes import MM3_PER_ML
from nnunet_missingmod.modalities import subset_name


@dataclass(frozen=True)
class Detection:
    """How a model detects a region in one subset; a region is present if it has a voxel or more.

    The four counts are of cases. Of a case with several runs each run counts in part. ``f1`` is NaN where no case is
    positive. ``false_positive_share`` is the share of cases with an empty reference in which the region is predicted,
    and ``false_positive_ml`` the mean volume predicted over all cases with an empty reference; NaN if there are none.
    Cases whose sizes are unknown are in none of these numbers.
    """

    model: str
    region: str
    subset: str
    true_positives: float
    false_positives: float
    false_negatives: float
    true_negatives: float
    f1: Interval
    false_positive_share: Interval
    false_positive_ml: Interval


def detections(grid: ScoreGrid, *, bootstrap: Bootstrap, patients: Mapping[str, str] | None = None) -> list[Detection]:
    """Return the detection of every model, region and subset with any case whose sizes are known."""
    known = [row.has_sizes for row in grid.rows]
    is_there = np.where(known, [float(row.reference_voxels > 0) for row in grid.rows], np.nan)
    is_found = np.where(known, [float(row.predicted_voxels > 0) for row in grid.rows], np.nan)
    true_positive, false_positive, false_negative, true_negative = (
        grid.mean(product)
        for product in (
            is_there * is_found,
            (1 - is_there) * is_found,
            is_there * (1 - is_found),
            (1 - is_there) * (1 - is_found),
        )
    )
    empty = grid.mean(1 - is_there) > 0
    volume = np.where(
        empty, grid.mean([row.predicted_voxels * row.voxel_mm3 / MM3_PER_ML for row in grid.rows]), np.nan
    )
    owners = grid.owners(patients)
    places = [(model, region, slice(None), subset) for model, region, subset in grid.scored(true_positive)]
    volumes = bootstrap.intervals([volume[place][:, None] for place in places], owners, skewed=True, bounds=(0.0, inf))
    # Volumes that are all 0 have no spread to make an interval of; the share's tells how sure that is.
    volumes = [each if each.mean > 0 else replace(each, low=nan, high=nan) for each in volumes]
    found = []
    for place, false_positive_ml in zip(places, volumes, strict=True):
        positive, wrong, missed, negative = (
            np.nan_to_num(each[place]) for each in (true_positive, false_positive, false_negative, true_negative)
        )
        found.append(
            Detection(
                model=grid.models[place[0]],
                region=grid.regions[place[1]],
                subset=subset_name(grid.subsets[place[3]], grid.modalities),
                true_positives=float(positive.sum()),
                false_positives=float(wrong.sum()),
                false_negatives=float(missed.sum()),
                true_negatives=float(negative.sum()),
                f1=f1_interval(positive, wrong, missed, owners, confidence=bootstrap.confidence),
                false_positive_share=share_interval(wrong, wrong + negative, owners, confidence=bootstrap.confidence),
                false_positive_ml=false_positive_ml,
            )
        )
    return found
