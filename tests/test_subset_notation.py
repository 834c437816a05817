"""Subsets as other programs write them: what is read, what is refused because it may mean two things."""

from __future__ import annotations

import pytest

from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.subset_notation import read_subsets

BRATS = ("FLAIR", "T1", "T1ce", "T2")


def read(text, names=BRATS):
    return read_subsets([text], names).get(text)


@pytest.mark.parametrize(
    ("text", "subset"),
    [
        ("T1+T2", (1, 3)),
        ("t2_T1", (1, 3)),
        ("t1ce-flair", (0, 2)),
        ("T1, T2", (1, 3)),
        ("T1 T1ce T2", (1, 2, 3)),
        ("t1c_t2f", (0, 2)),
        ("T1n-T1Gd", (1, 2)),
        ("0+2", (0, 2)),
        ("0002_0000", (0, 2)),
        ("3", (3,)),
        ("1010", (0, 2)),
        ("nonsense", None),
        ("T1+T1", None),
        ("4+0", None),
        ("0000", (0,)),
        ("", None),
        ("T1+", None),
    ],
)
def test_a_text_stands_for_the_subset_that_a_reader_would_take_it_for(text, subset):
    assert read(text) == subset


def test_spellings_of_sequences_go_both_ways_and_never_stand_for_two_channels():
    of_2023 = ("t1n", "t1c", "t2w", "t2f")
    assert read("FLAIR_T1ce", of_2023) == (1, 3)
    assert read("t1gd", ("T1ce early", "T1c", "T1gd")) == (2,)
    assert read("t1post", ("T1c", "T1gd")) is None


def test_bits_and_numbers_are_told_apart_by_all_texts_together():
    bits = ["".join("01"[channel in subset] for channel in range(4)) for subset in all_subsets(4)]
    assert read_subsets(bits, BRATS) == dict(zip(bits, all_subsets(4), strict=True))
    numbers = ["0000", "0001", "0002", "0000_0001"]
    assert list(read_subsets(numbers, BRATS).values()) == [(0,), (1,), (2,), (0, 1)]
    assert read_subsets(["01", "10", "11"], ("A", "B")) == {"01": (1,), "10": (0,), "11": (0, 1)}
    with pytest.raises(ValueError, match=r"'0001' may be T1 \(as channel numbers\) or T2 \(as a bit per channel\)"):
        read("0001")


def test_channels_counted_from_one_are_refused_as_others_would_be_misread():
    with pytest.raises(ValueError, match=r"'1\+4' numbers channels from 1, but they are counted from 0 to 3"):
        read_subsets(["1", "2", "1+4"], BRATS)


def test_names_with_separators_are_whole_first_and_refused_where_two_divisions_are_left():
    names = ("T1", "T1_C", "C", "T2 w")
    assert read("T1_C", names) == (1,)
    assert read("T1+C", names) == (0, 2)
    assert read("t2_w", names) == (3,)
    assert read("C-T2_w", names) == (2, 3)
    with pytest.raises(ValueError, match=r"'T1_C-T2 w' may be T1\+C\+T2 w or T1_C\+T2 w: join the names by \+"):
        read("T1_C-T2 w", names)
    assert read(r"T1\+C+T2", ("T1+C", "T2")) == (0, 1)


def test_a_channel_called_by_a_number_is_a_name():
    assert read("1", ("1", "0")) == (0,)
    assert read("1", ("A",)) == (0,)
    assert read("0", ("A",)) == (0,)


def test_many_modalities_are_read_without_listing_their_subsets():
    names = tuple(f"m{channel}" for channel in range(60))
    assert read("_".join(reversed(names)), names) == tuple(range(60))
