"""Which lesions a model finds: F1 over lesions and the Dice of those that are found, from score rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval
from nnunet_missingmod.evaluation.score_grid import ScoreGrid
from nnunet_missingmod.evaluation.scoring import UNCOUNTED
from nnunet_missingmod.evaluation.shares import f1_interval
from nnunet_missingmod.modalities import subset_name


@dataclass(frozen=True)
class LesionDetection:
    """The lesions of a region that a model finds in one subset, over all cases whose lesions were counted.

    The counts are of lesions; of a case with several runs they are means over these. ``f1 = 2 matched / (reference +
    predicted)``, its interval over patients, all lesions of a patient together; NaN where there is no lesion.
    ``lesion_dice`` is the mean over cases of the mean Dice of a case's matched lesions.
    """

    model: str
    region: str
    subset: str
    reference: float
    predicted: float
    matched: float
    f1: Interval
    lesion_dice: Interval


def lesion_detections(
    grid: ScoreGrid, *, bootstrap: Bootstrap, patients: Mapping[str, str] | None = None
) -> list[LesionDetection]:
    """Return the detection of lesions of every model, region and subset in which they were counted."""
    counted = np.array([row.reference_lesions != UNCOUNTED for row in grid.rows])
    reference, predicted, matched, dice = (
        grid.mean(np.where(counted, [getattr(row, name) for row in grid.rows], np.nan))
        for name in ("reference_lesions", "predicted_lesions", "matched_lesions", "lesion_dice")
    )
    owners = grid.owners(patients)
    places = [(model, region, slice(None), subset) for model, region, subset in grid.scored(reference)]
    of_dice = bootstrap.intervals([dice[place][:, None] for place in places], owners, bounds=(0.0, 1.0))
    found = []
    for place, lesion_dice in zip(places, of_dice, strict=True):
        there, seen, right = (np.nan_to_num(each[place]) for each in (reference, predicted, matched))
        found.append(
            LesionDetection(
                model=grid.models[place[0]],
                region=grid.regions[place[1]],
                subset=subset_name(grid.subsets[place[3]], grid.modalities),
                reference=float(there.sum()),
                predicted=float(seen.sum()),
                matched=float(right.sum()),
                f1=f1_interval(right, seen - right, there - right, owners, confidence=bootstrap.confidence),
                lesion_dice=lesion_dice,
            )
        )
    return found
