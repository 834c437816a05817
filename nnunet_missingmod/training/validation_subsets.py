"""Which subset of modalities each validation batch is shown, and the pseudo Dice per number of present modalities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_missingmod.absence import BoolArray
from nnunet_missingmod.modalities import all_subsets

Counts = npt.NDArray[np.floating[Any]]


class SubsetCycle:
    """Go through all ``2**J - 1`` subsets, one per batch, without starting over at each epoch.

    Sizes alternate (see ``order``), so that the few subsets an epoch of a many-modality dataset reaches are still small
    and large ones. Of several processes each takes every ``world_size``-th subset.
    """

    def __init__(self, num_modalities: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.order = _alternate_sizes(num_modalities)
        self._num_modalities = num_modalities
        self._rank = rank
        self._world_size = world_size
        self._batch = 0

    def start_epoch(self, epoch: int, *, batches_per_epoch: int) -> None:
        """Go to the first batch of an epoch."""
        self._batch = epoch * batches_per_epoch

    def next_subset(self) -> BoolArray:
        """Return the next subset as (J,) bool."""
        position = (self._batch * self._world_size + self._rank) % len(self.order)
        self._batch += 1
        chosen = np.zeros(self._num_modalities, dtype=bool)
        chosen[list(self.order[position])] = True
        return chosen


def restrict(present: BoolArray, subset: BoolArray) -> BoolArray:
    """Return the part (B, J) of a subset (J,) that each case has; a case that has none of it keeps all it has."""
    kept: BoolArray = present & subset
    return np.where(kept.any(axis=1, keepdims=True), kept, present)


def dice_by_count(steps: Iterable[tuple[int, Counts, Counts, Counts]]) -> dict[int, list[float]]:
    """Return {number of present modalities: [pseudo Dice per class]} of validation batches.

    Dice = 2 TP / (2 TP + FP + FN) pooled over the batches, as in nnU-Net's log; NaN where a class never occurs.

    Args:
        steps: (number of present modalities, TP, FP, FN), the latter three per class.
    """
    pooled: dict[int, Counts] = {}
    for count, tp, fp, fn in steps:
        pooled[count] = pooled.get(count, np.zeros((3, len(tp)))) + np.stack([tp, fp, fn])
    return {count: _dice(*pooled[count]) for count in sorted(pooled)}


def _dice(tp: Counts, fp: Counts, fn: Counts) -> list[float]:
    denominator = 2 * tp + fp + fn
    return [float(2 * t / d) if d else float("nan") for t, d in zip(tp, denominator, strict=True)]


def _alternate_sizes(num_modalities: int) -> Sequence[tuple[int, ...]]:
    """All subsets, dealt in turn from the piles of each size until every pile is used up."""
    subsets = all_subsets(num_modalities)
    piles = [[s for s in subsets if len(s) == size] for size in range(1, num_modalities + 1)]
    return [pile[turn] for turn in range(max(map(len, piles))) for pile in piles if turn < len(pile)]
