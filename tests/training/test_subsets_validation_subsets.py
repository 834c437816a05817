"""The cycle of validation subsets, and the pseudo Dice per number of present modalities."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.training.subsets import SubsetCycle, dice_by_count


@given(st.integers(1, 7), st.integers(1, 60), st.integers(0, 30))
def test_consecutive_batches_go_through_all_subsets_across_epochs(num_modalities, per_epoch, epoch):
    cycle = SubsetCycle(num_modalities)
    seen = []
    while len(seen) < 2**num_modalities - 1:
        cycle.start_epoch(epoch, batches_per_epoch=per_epoch)
        seen += [tuple(np.flatnonzero(cycle.next_subset())) for _ in range(per_epoch)]
        epoch += 1
    assert set(seen[: 2**num_modalities - 1]) == set(all_subsets(num_modalities))


def test_ranks_share_the_cycle_between_them():
    ranks = [SubsetCycle(4, rank=rank, world_size=3) for rank in range(3)]
    seen = Counter(tuple(cycle.next_subset()) for _ in range(5) for cycle in ranks)
    assert set(seen.values()) == {1}
    assert len(seen) == 15


def test_few_batches_still_see_small_and_large_subsets():
    cycle = SubsetCycle(6)
    assert {int(cycle.next_subset().sum()) for _ in range(6)} == {1, 2, 3, 4, 5, 6}


def test_dice_is_pooled_over_the_batches_of_a_count():
    steps = [
        (1, np.array([1.0, 0]), np.array([1.0, 0]), np.array([0.0, 0])),
        (1, np.array([3.0, 0]), np.array([0.0, 0]), np.array([1.0, 0])),
        (2, np.array([5.0, 1]), np.array([0.0, 1]), np.array([0.0, 2])),
    ]
    dice = dice_by_count(steps)
    assert dice[1][0] == pytest.approx(2 * 4 / (2 * 4 + 1 + 1))
    assert math.isnan(dice[1][1])
    assert dice[2] == pytest.approx([1.0, 2 / 5])
