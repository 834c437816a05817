"""Known patterns of missingness: draws have the stated distribution, and validation goes through it in proportion."""

from __future__ import annotations

import time
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_missingmod.modalities import all_subsets, subset_name
from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.training.patterns import PatternCycle, known_pattern, report_pattern
from nnunet_missingmod.training.subsets import ModalityDropout, SubsetCycle

NAMES = ("FLAIR", "T1", "DWI")
NUM_DRAWS = 5_000
TABLE = {"modality_dropout": {"FLAIR": 0.35, "T1": 0.2}}
ALL_DROPPED = {"modality_dropout": {"FLAIR": 0.9, "T1": 0.5, "DWI": 0.7}}
SUBSETS = {"modality_subsets": {"T1+DWI": 3, "FLAIR": 0.5, "FLAIR+T1+DWI": 1}}


def pattern_of(block, names=NAMES):
    return known_pattern(resolve({"modality_dropout": "uniform", **block}), names)


def expected_frequencies(block, present):
    """P(shown | present) from the formulas of the documents, written out over all subsets."""
    found = Counter()
    if "modality_subsets" in block:
        for name, weight in block["modality_subsets"].items():
            found[tuple(has and modality in name.split("+") for modality, has in zip(NAMES, present, strict=True))] += (
                weight
            )
    else:
        drop = [block["modality_dropout"].get(name, 0.0) for name in NAMES]
        for kept in product([False, True], repeat=len(NAMES)):
            if not any(keep and not has for keep, has in zip(kept, present, strict=True)):
                of_each = [p if not keep else 1 - p for p, keep, has in zip(drop, kept, present, strict=True) if has]
                found[kept] += float(np.prod(of_each))
    del found[False, False, False]
    return {shown: share / sum(found.values()) for shown, share in found.items() if share}


@pytest.mark.parametrize("present", [(True, True, True), (True, True, False), (False, True, False)])
@pytest.mark.parametrize("block", [TABLE, ALL_DROPPED, SUBSETS])
def test_frequencies_are_those_of_the_formula_for_complete_and_incomplete_cases(block, present):
    dropout = ModalityDropout(pattern_of(block).sample, seed=1)
    kept = dropout.sample(np.tile(np.array(present), (NUM_DRAWS, 1)))
    counts = Counter(map(tuple, kept.tolist()))
    expected = expected_frequencies(block, present)
    assert set(counts) == set(expected)
    for shown, share in expected.items():
        assert abs(counts[shown] / NUM_DRAWS - share) < 4 * np.sqrt(share * (1 - share) / NUM_DRAWS) + 1e-9, shown


@pytest.mark.parametrize("block", [TABLE, ALL_DROPPED, SUBSETS])
@pytest.mark.parametrize("start", [0, 12_345])
def test_validation_visits_each_subset_in_proportion(block, start):
    cycle = PatternCycle(pattern_of(block), len(NAMES))
    cycle.start_epoch(1, batches_per_epoch=start)
    seen = Counter()
    expected = expected_frequencies(block, (True, True, True))
    for number in range(1, 301):
        seen[tuple(cycle.next_subset().tolist())] += 1
        assert all(abs(seen[subset] - number * share) < 2.5 for subset, share in expected.items())
    assert set(seen) <= set(expected)


def test_validation_goes_on_across_epochs_and_ranks_share_it():
    pattern = pattern_of(SUBSETS)
    whole = PatternCycle(pattern, 3)
    expected = [whole.next_subset().tolist() for _ in range(12)]
    ranks = [PatternCycle(pattern, 3, rank=rank, world_size=2) for rank in range(2)]
    seen = []
    for epoch in range(3):
        for rank in ranks:
            rank.start_epoch(epoch, batches_per_epoch=2)
        seen += [rank.next_subset().tolist() for _ in range(2) for rank in ranks]
    assert seen == expected


subsets_of_five = st.dictionaries(
    st.sampled_from(all_subsets(5)), st.integers(0, 10**308) | st.floats(0, 1e308), min_size=1, max_size=31
)
table_of_five = st.dictionaries(st.sampled_from("abcde"), st.floats(0, 1, exclude_max=True), min_size=1)


@settings(max_examples=60)
@given(st.one_of(subsets_of_five.filter(lambda w: any(w.values())), table_of_five), st.integers(0, 2**32), st.data())
def test_every_case_is_shown_a_non_empty_part_of_what_it_has(given_table, seed, data):
    names = "abcde"
    is_table = isinstance(next(iter(given_table)), str)
    block = {"modality_dropout": given_table}
    if not is_table:
        block = {"modality_subsets": {subset_name(subset, names): weight for subset, weight in given_table.items()}}
    pattern = pattern_of(block, names)
    rows = st.lists(st.booleans(), min_size=5, max_size=5).filter(any)
    present = np.array(data.draw(st.lists(rows, min_size=1, max_size=10)))
    kept = ModalityDropout(pattern.sample, seed=seed).sample(present)
    assert kept.any(axis=1).all()
    assert not (kept & ~present).any()
    assert all(pattern.at(position).any() for position in range(20))
    if not is_table:
        named = [np.isin(np.arange(5), subset) for subset, weight in given_table.items() if weight]
        parts = {(subset & has).tobytes() for subset in named for has in present}
        whole = {
            has.tobytes() for has, nothing in zip(present, pattern.shares_nothing(present), strict=True) if nothing
        }
        assert {row.tobytes() for row in kept} <= parts | whole


def test_draws_do_not_depend_on_how_the_table_was_written():
    one = pattern_of({"modality_subsets": {"FLAIR": 0.5, "DWI+T1": 3, "FLAIR+T1+DWI": 1, "T1": 0}})
    present = np.ones((50, 3), dtype=bool)
    draws = [ModalityDropout(each.sample, seed=4).sample(present) for each in (one, pattern_of(SUBSETS))]
    np.testing.assert_array_equal(*draws)


def test_draws_of_an_epoch_are_repeated_and_the_curriculum_shows_whole_cases():
    present = np.ones((400, 3), dtype=bool)
    dropout = ModalityDropout(pattern_of({"modality_subsets": {"T1": 1}}).sample, seed=2)
    dropout.start_epoch(7, chance=0.25)
    first = dropout.sample(present)
    assert (first.sum(1) == 3).mean() == pytest.approx(0.75, abs=0.1)
    assert set(first.sum(1)) == {1, 3}
    dropout.start_epoch(7, chance=0.25)
    np.testing.assert_array_equal(dropout.sample(present), first)


@pytest.mark.parametrize("block", [{}, {"modality_dropout": "none"}, {"modality_dropout": "bernoulli"}])
def test_words_are_no_pattern(block):
    assert pattern_of(block) is None


def test_one_modality_is_always_shown():
    for block in ({"modality_dropout": {"CT": 0.999999999999}}, {"modality_subsets": {"CT": 2}}):
        pattern = pattern_of(block, ("CT",))
        assert ModalityDropout(pattern.sample).sample(np.ones((20, 1), dtype=bool)).all()
        assert pattern.at(3).tolist() == [True]
        assert list(pattern.report(("CT",))) == [" 100.00 %  CT"]


def test_many_modalities_cost_neither_time_nor_memory():
    names = [f"time {frame}" for frame in range(100)]
    pattern = pattern_of({"modality_dropout": dict.fromkeys(names, 0.25)}, names)
    started = time.process_time()
    shown = np.stack([pattern.at(position) for position in range(400)])
    assert time.process_time() - started < 2
    assert np.abs(shown.mean(0) - 0.75).max() < 0.12
    np.testing.assert_array_equal(pattern.at(17), shown[17])
    assert not np.array_equal(shown[:200], shown[200:])
    lines = list(pattern.report(names))
    assert len(lines) == 17
    assert lines[0] == "time 0 is dropped in 25.00 %"


def test_the_log_has_the_subsets_with_their_probabilities():
    present = np.array([[True, True, True], [True, False, False]])
    block = {"modality_subsets": {"T1+DWI": 3, "DWI": 1}}
    assert list(report_pattern(pattern_of(block), NAMES, present)) == [
        "Subsets that a complete case is shown, from the plans; an incomplete one is shown what it has of them:",
        "  75.00 %  T1+DWI",
        "  25.00 %  DWI",
        "WARNING: in none of them is FLAIR: the model will not know what to do with that.",
        "WARNING: 1 of 2 training cases have nothing of any of these subsets: they are shown all that they have. "
        "Leave them out of splits_final.json, or name a subset of theirs.",
    ]
    assert list(pattern_of(TABLE).report(NAMES)) == [
        "  52.00 %  FLAIR+T1+DWI",
        "  28.00 %  T1+DWI",
        "  13.00 %  FLAIR+DWI",
        "   7.00 %  DWI",
    ]


def test_a_long_table_is_cut_in_the_log():
    names = "abcdefg"
    lines = list(pattern_of({"modality_dropout": dict.fromkeys(names, 0.4)}, names).report(names))
    assert len(lines) == 17
    shares = [float(line.split("%")[0]) for line in lines]
    assert sum(shares) == pytest.approx(100, abs=0.1)
    assert lines[-1].endswith("%  111 others together")


def test_the_cycle_of_a_word_is_as_before():
    cycle = SubsetCycle(3)
    assert cycle.subset_at(7).tolist() == cycle.subset_at(0).tolist() == [True, False, False]
