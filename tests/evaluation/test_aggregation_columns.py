from __future__ import annotations

import pytest
from evaluation.evaluation_rows import BRATS_NAMES

from nnunet_missingmod.evaluation.aggregation import Column, count_columns, ordered_subsets, subset_columns
from nnunet_missingmod.modalities import all_subsets

PAPER_ORDER = [
    {"FLAIR"}, {"T2"}, {"T1ce"}, {"T1"},
    {"T2", "FLAIR"}, {"T1ce", "FLAIR"}, {"T1ce", "T2"}, {"T1", "FLAIR"}, {"T1", "T2"}, {"T1", "T1ce"},
    set(BRATS_NAMES) - {"T1"}, set(BRATS_NAMES) - {"T1ce"}, set(BRATS_NAMES) - {"T2"}, set(BRATS_NAMES) - {"FLAIR"},
    set(BRATS_NAMES),
]  # fmt: skip


@pytest.mark.parametrize("names", [BRATS_NAMES, ("t1CE", "t2", "flair", "T1")])
def test_columns_of_brats_follow_the_papers_whatever_the_channel_order(names):
    by_folded_name = {name.casefold(): name for name in BRATS_NAMES}
    subsets = [{by_folded_name[names[channel].casefold()] for channel in subset} for subset in ordered_subsets(names)]
    assert subsets == PAPER_ORDER


@pytest.mark.parametrize(
    "names", [("CT", "PET"), ("FLAIR", "T1", "T1ce"), ("FLAIR", "T1", "T1ce", "DWI"), tuple("abcde")]
)
def test_columns_of_other_modalities_go_by_size_then_channel(names):
    assert ordered_subsets(names) == all_subsets(len(names))


def test_there_is_a_column_for_every_subset_and_their_average():
    columns = subset_columns(BRATS_NAMES)
    assert [set(column.heading.split("+")) for column in columns[:-1]] == PAPER_ORDER
    assert columns[-1] == Column("average", tuple(ordered_subsets(BRATS_NAMES)))


def test_there_is_a_column_for_every_number_of_present_modalities():
    columns = count_columns(BRATS_NAMES)
    assert [column.heading for column in columns] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4", "average"]
    assert [len(column.subsets) for column in columns] == [4, 6, 4, 1, 15]


def test_an_average_over_some_subsets_is_not_called_the_average():
    scored = [(0,), (1,), (0, 1, 2, 3)]
    headings = [column.heading for column in subset_columns(BRATS_NAMES, scored=scored)]
    assert headings == ["FLAIR", "T1", "FLAIR+T1+T1ce+T2", "average of 3"]
    assert [column.heading for column in count_columns(BRATS_NAMES, scored=scored)] == ["4 of 4"]
    everything = all_subsets(4)
    assert subset_columns(BRATS_NAMES, scored=everything) == subset_columns(BRATS_NAMES)
    assert count_columns(BRATS_NAMES, scored=everything) == count_columns(BRATS_NAMES)


def test_columns_of_many_modalities_are_those_of_the_scored_subsets():
    names = tuple(f"m{channel}" for channel in range(60))
    alone = [(channel,) for channel in range(60)]
    scored = [tuple(range(60)), *alone, (3, 7)]
    headings = [column.heading for column in subset_columns(names, scored=scored)]
    assert headings == [*names, "m3+m7", "+".join(names), "average of 62"]
    assert [(c.heading, len(c.subsets)) for c in count_columns(names, scored=scored)] == [
        ("1 of 60", 60),
        ("60 of 60", 1),
    ]


def test_only_a_column_that_bears_its_subsets_name_stands_for_it():
    one, average = subset_columns(("CT",))
    assert one.is_subset_of(("CT",))
    assert not average.is_subset_of(("CT",))
    assert not any(column.is_subset_of(BRATS_NAMES) for column in count_columns(BRATS_NAMES))
