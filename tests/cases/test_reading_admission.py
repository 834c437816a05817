"""Each channel of a raw case is present, blank, absent, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.cases.reading import judge_channel, judge_channels

NAMES = ("A", "B", "C")
STRICT = {"blank_is_absent": True, "nonfinite": "refuse"}


def image(*, spoilt=0, value=np.nan):
    voxels = np.arange(1, 28, dtype=np.float32).reshape(3, 3, 3)
    voxels.flat[:spoilt] = value
    return voxels


@pytest.mark.parametrize(
    ("voxels", "present", "blank"),
    [
        (image(), True, False),
        (np.full((3, 3, 3), np.nan, np.float32), False, False),
        (np.full((3, 3, 3), 4, np.float32), False, True),
        (np.zeros((3, 3, 3), np.float32), False, True),
    ],
)
def test_presence_of_a_channel(voxels, present, blank):
    judged = judge_channel(voxels, "A", **STRICT)
    assert (judged.present, judged.blank, judged.zeroed, judged.problem) == (present, blank, 0, None)


def test_blank_channel_is_present_where_the_user_says_so():
    judged = judge_channel(np.full((3, 3, 3), 4, np.float32), "A", blank_is_absent=False, nonfinite="refuse")
    assert (judged.present, judged.blank) == (True, False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_voxels_are_refused_with_their_number_or_counted(value):
    judged = judge_channel(image(spoilt=5, value=value), "T1", **STRICT)
    assert judged.problem.startswith("T1 has 5 NaN or infinite voxels of 27.")
    judged = judge_channel(image(spoilt=5, value=value), "T1", blank_is_absent=True, nonfinite="zero")
    assert (judged.present, judged.zeroed, judged.problem) == (True, 5, None)


def test_voxels_that_the_reader_replaced_are_judged_alike():
    assert "has 3 NaN" in judge_channel(image(), "T1", **STRICT, replaced=3).problem
    assert judge_channel(image(), "T1", blank_is_absent=True, nonfinite="zero", replaced=3).zeroed == 3


def test_channel_of_zeros_and_nonfinite_voxels_is_blank_once_they_are_zeroed():
    voxels = np.zeros((3, 3, 3), np.float32)
    voxels[0, 0, :2] = np.nan
    judged = judge_channel(voxels, "T1", blank_is_absent=True, nonfinite="zero")
    assert (judged.present, judged.blank, judged.zeroed) == (False, True, 2)


def test_infinite_in_every_voxel_is_no_absence_mark():
    judged = judge_channel(np.full((3, 3, 3), np.inf, np.float32), "T1", **STRICT)
    assert "T1 has 27 NaN or infinite voxels" in judged.problem


def test_case_is_admitted_with_a_report_and_its_voxels_made_finite():
    data = np.stack([image(spoilt=2), np.full((3, 3, 3), np.nan, np.float32), np.full((3, 3, 3), 7, np.float32)])
    present, report = judge_channels(data, NAMES, case="p", blank_is_absent=True, nonfinite="zero")
    np.testing.assert_array_equal(present, [True, False, False])
    assert report == {"present": ["A"], "blank": ["C"], "nonfinite_zeroed": {"A": 2}}
    np.testing.assert_array_equal(data[0], image(spoilt=2, value=0))


def test_everything_that_is_wrong_with_a_case_is_said_at_once():
    with pytest.raises(CaseRefusedError, match=r"Case 'p' refused: A has 2 NaN.* C has 4 NaN"):
        judge_channels(np.stack([image(spoilt=2), image(), image(spoilt=4)]), NAMES, case="p", **STRICT)


def test_case_without_a_modality_is_refused():
    nothing = np.full((3, 3, 3, 3), np.nan, np.float32)
    with pytest.raises(CaseRefusedError, match="no modality is present. Give at least one of: A, B, C"):
        judge_channels(nothing, NAMES, case="p", **STRICT)
