"""Names, channels and subsets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_missingmod.modalities import all_subsets, channel_names, subset_name


@given(st.integers(1, 8))
def test_there_are_two_to_the_j_minus_one_distinct_subsets_ordered_by_size(num_modalities):
    subsets = all_subsets(num_modalities)
    assert len(subsets) == len(set(subsets)) == 2**num_modalities - 1
    assert subsets == sorted(subsets, key=lambda subset: (len(subset), subset))
    assert all(subset == tuple(sorted(set(subset))) for subset in subsets)


def test_names_come_in_the_order_of_their_channels():
    assert channel_names({"channel_names": {"10": "K", **{str(i): f"M{i}" for i in range(10)}}})[10] == "K"
    assert channel_names({"modality": {"0": "CT"}}) == ("CT",)


@pytest.mark.parametrize("named", [{}, {"1": "T1"}, {"0": "T1", "2": "T2"}])
def test_channels_must_be_numbered_from_zero_without_gaps(named):
    with pytest.raises(ValueError, match="channel"):
        channel_names({"channel_names": named})


@pytest.mark.parametrize("named", [["T1", "T2"], {"T1": 0, "T2": 1}, {"T1": "0", "T2": "1"}])
def test_a_list_and_turned_round_names_are_refused_with_the_right_form(named):
    with pytest.raises(ValueError, match=r'must be as "channel_names": \{"0": "T1", "1": "T2"\}, got'):
        channel_names({"channel_names": named})


def test_name_of_a_subset_is_in_channel_order():
    assert subset_name((2, 0), ("FLAIR", "T1", "T1ce")) == "FLAIR+T1ce"


@pytest.mark.parametrize("subset", [(), (3,), (-1,)])
def test_subset_outside_the_channels_is_refused(subset):
    with pytest.raises(ValueError, match=r"0\.\.2"):
        subset_name(subset, ("FLAIR", "T1", "T1ce"))


def test_no_modality_is_no_dataset():
    with pytest.raises(ValueError, match="at least one modality"):
        all_subsets(0)
