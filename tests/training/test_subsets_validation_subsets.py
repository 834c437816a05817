"""The cycle of validation subsets, and the pseudo Dice per number of present modalities."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections import Counter
from itertools import combinations, islice
from itertools import cycle as endlessly

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


@pytest.mark.parametrize(("num_modalities", "world_size"), [(4, 3), (4, 5), (2, 3), (4, 2)])
def test_no_rank_has_the_same_subsets_for_ever(num_modalities, world_size):
    """nnU-Net gives each rank its own share of patches with foreground: a subset is not to be tied to one."""
    ranks = [SubsetCycle(num_modalities, rank=rank, world_size=world_size) for rank in range(world_size)]
    period = 2**num_modalities - 1
    batches = [[tuple(cycle.next_subset()) for cycle in ranks] for _ in range(period * period)]
    for of_rank in zip(*batches, strict=True):
        assert len(set(of_rank)) == period
    in_order = [subset for batch in batches for subset in batch]
    for begin in range(0, len(in_order) - period + 1, period):
        assert len(set(in_order[begin : begin + period])) == period


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


def dealt_in_turn(num_modalities):
    """The order of the cycle, from its definition: piles of each size in lexicographic order, dealt in turn."""
    piles = [list(combinations(range(num_modalities), size)) for size in range(1, num_modalities + 1)]
    return [pile[turn] for turn in range(max(map(len, piles))) for pile in piles if turn < len(pile)]


@pytest.mark.parametrize("num_modalities", [1, 2, 3, 4, 5, 8, 11])
def test_the_order_of_the_cycle_is_that_of_earlier_versions(num_modalities):
    subsets = SubsetCycle(num_modalities)
    expected = islice(endlessly(dealt_in_turn(num_modalities)), 2**num_modalities + 1)
    assert all(tuple(np.flatnonzero(subsets.next_subset())) == subset for subset in expected)


@pytest.mark.parametrize("num_modalities", [17, 23, 26, 50, 100])
def test_many_modalities_are_cycled_without_listing_their_subsets(num_modalities):
    started = time.process_time()
    tracemalloc.start()
    cycle = SubsetCycle(num_modalities)
    seen = np.stack([cycle.next_subset() for _ in range(500)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - started < 5
    assert peak < 1e6
    assert len(np.unique(seen, axis=0)) == 500
    assert seen.any(axis=1).all()
    # Every modality is in about half of them, the last as often as the first.
    assert np.all(np.abs(seen.mean(axis=0) - 0.5) < 0.15)
    assert set(seen.sum(axis=1)) == set(range(1, num_modalities + 1))


def test_large_cycles_go_through_all_subsets_too(monkeypatch):
    monkeypatch.setattr("nnunet_missingmod.training.subsets.MOST_SUBSETS", 10)
    cycle = SubsetCycle(6)
    assert {tuple(np.flatnonzero(cycle.next_subset())) for _ in range(63)} == set(all_subsets(6))
