"""How well predictions of one case agree: those of the folds with each other, and each with those of a modality less.

``evaluate`` and ``predict`` compute it from label maps, without a reference; ``conformal`` learns from it what Dice to
expect of a case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np

from nnunet_missingmod.evaluation.csv_rows import read_rows, write_rows
from nnunet_missingmod.evaluation.metrics import LabelMap, bounding_box, region_dice
from nnunet_missingmod.modalities import Subset

SUBSETS = "subsets"
"""The agreement of a prediction with those from one modality less."""
FOLDS = "folds"
"""The agreement of the predictions of a model's folds, whose mean is the prediction."""
KINDS = (FOLDS, SUBSETS)

Agreement = Mapping[str, float]
"""The agreement in each region, in 0..1."""

Regions = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class CroppedLabels:
    """A label map cut to the box around its foreground, which begins at the voxel ``first``; the rest is background."""

    labels: LabelMap
    first: tuple[int, ...]

    @classmethod
    def of(cls, labels: LabelMap) -> CroppedLabels:
        """Return the part of a label map (integers, any number of axes) that is not background, as a copy."""
        bounds = bounding_box(labels != 0)
        cropped = labels[tuple(slice(int(start), int(end)) for start, end in bounds.T)]
        kind = np.uint8 if not cropped.size or (cropped.min() >= 0 and cropped.max() < 256) else np.int64
        return cls(cropped.astype(kind), tuple(bounds[0].tolist()))

    @property
    def end(self) -> tuple[int, ...]:
        """One past the last voxel of the box along each axis."""
        return tuple(first + length for first, length in zip(self.first, self.labels.shape, strict=True))

    def within(self, first: Sequence[int], end: Sequence[int]) -> LabelMap:
        """Return the labels in a box that holds this one, or any box if there is no foreground."""
        pasted = np.zeros(np.subtract(end, first), self.labels.dtype)
        if self.labels.size:
            offsets = np.subtract(self.first, first)
            pasted[tuple(slice(o, o + n) for o, n in zip(offsets, self.labels.shape, strict=True))] = self.labels
        return pasted


def dice_between(one: CroppedLabels, other: CroppedLabels, regions: Regions) -> dict[str, float]:
    """Return the Dice of two predictions of one case in each region, in 0..1.

    A region that both leave empty is agreed on and gives 1; one that only one of them has gives 0.
    """
    boxes = [each for each in (one, other) if each.labels.size]
    if not boxes:
        return dict.fromkeys(regions, 1.0)
    first = tuple(min(starts) for starts in zip(*(box.first for box in boxes), strict=True))
    end = tuple(max(ends) for ends in zip(*(box.end for box in boxes), strict=True))
    return region_dice(one.within(first, end), other.within(first, end), regions)


def agreement_with(prediction: CroppedLabels, others: Sequence[CroppedLabels], regions: Regions) -> dict[str, float]:
    """Return the mean Dice of a prediction with each of the others, by region; see `dice_between` on empty ones.

    For a prediction from the subset S and those from S without one modality each:
    ``a = 1/|S| sum_j Dice(P(S), P(S - {j}))``.

    Raises:
        ValueError: there are no others.
    """
    if not others:
        raise ValueError("Agreement needs predictions to compare with, got none.")
    return _means([dice_between(prediction, other, regions) for other in others])


def pairwise_agreement(predictions: Sequence[CroppedLabels], regions: Regions) -> dict[str, float]:
    """Return the mean Dice over all pairs of predictions, by region; see `dice_between` on empty ones.

    With K folds: ``a = 2 / (K (K - 1)) sum_{k < l} Dice(P_k, P_l)``.

    Raises:
        ValueError: there are fewer than two predictions.

    Source: Roy et al., Bayesian QuickNAT, NeuroImage 2019, section 2.4, for Monte Carlo samples in place of folds.
    """
    if len(predictions) < 2:
        raise ValueError(f"Agreement needs two predictions or more, got {len(predictions)}.")
    return _means([dice_between(one, other, regions) for one, other in combinations(predictions, 2)])


def one_less(subset: Subset) -> list[Subset]:
    """Return the subsets that lack one modality of this one; none if it has one modality."""
    if len(subset) < 2:
        return []
    return [tuple(channel for channel in subset if channel != left_out) for left_out in subset]


def comparable(subsets: Collection[Subset]) -> dict[Subset, list[Subset]]:
    """Return for each subset those of one modality less, where all of these are there, too.

    Subsets of one modality are compared with none.
    """
    return {
        subset: one_less(subset)
        for subset in subsets
        if len(subset) > 1 and all(each in subsets for each in one_less(subset))
    }


def _means(dice: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {region: fmean(each[region] for each in dice) for region in dice[0]}


@dataclass(frozen=True)
class AgreementRow:
    """The agreement of one kind in one region of one prediction; the first columns are those of ``scores.csv``."""

    model: str
    fold: str
    case: str
    subset: str
    num_present: int
    region: str
    kind: str
    agreement: float


def write_agreement(rows: Iterable[AgreementRow], path: Path) -> None:
    """Write rows as a CSV file with a header, in full precision."""
    write_rows(rows, AgreementRow, path)


def read_agreement(path: Path) -> list[AgreementRow]:
    """Read what `write_agreement` wrote; further columns are ignored.

    Raises:
        ValueError: a column is missing, or a line cannot be read; its number is named.
    """
    return read_rows(path, AgreementRow)
