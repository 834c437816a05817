"""What is found in a dataset's files, case by case, and the report on it; ``commands/inspect`` prints and saves it."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from skimage import io

from nnunet_missingmod.cases.dataset import DatasetError
from nnunet_missingmod.cases.inspection import InspectedCase, describe, inspect_dataset

NAMES = ("FLAIR", "T1", "T1ce", "T2")


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=2)


@pytest.mark.parametrize("processes", [1, 2])
def test_each_case_says_what_is_present_and_what_is_wrong(tiny, processes):
    tiny.image("case_000", 1).unlink()
    tiny.image("case_001", 2).write_bytes(b"")
    cases, problems = inspect_dataset(tiny.raw, tiny.dataset_json, processes=processes)
    assert problems == []
    assert [(case.split, case.case, case.present, case.blank, case.unusable) for case in cases] == [
        ("Tr", "case_000", ("FLAIR", "T1ce", "T2"), (), ()),
        ("Tr", "case_001", ("FLAIR", "T1", "T2"), (), ("T1ce",)),
    ]
    assert cases[0].problems == ()
    assert "(T1ce) cannot be read: the file is empty (0 bytes)" in cases[1].problems[0]


def test_blank_files_count_as_absent_and_copies_are_problems(tiny):
    image = sitk.ReadImage(str(tiny.image("case_000", 0)))
    sitk.WriteImage(image * 0, str(tiny.image("case_000", 0)))
    tiny.image("case_001", 3).write_bytes(tiny.image("case_001", 1).read_bytes())
    cases, problems = inspect_dataset(tiny.raw, tiny.dataset_json)
    assert (cases[0].present, cases[0].blank, cases[0].problems) == (("T1", "T1ce", "T2"), ("FLAIR",), ())
    assert cases[1].problems == ("T2 holds the same voxels as T1. Put the right file in its place, or remove it.",)
    report = describe(cases, problems, NAMES)
    assert "     1  Tr     T1+T1ce+T2" in report
    assert "- case_001: T2 holds the same voxels as T1." in report


def test_cases_in_one_file_among_cases_of_a_file_per_modality_are_listed(make_tiny_dataset):
    tiny = make_tiny_dataset(("A", "B", "C"), num_cases=0, file_ending=".png", reader="NaturalImage2DIO")
    rng = np.random.default_rng(0)
    for case, bands in (("a", 3), ("b", 3), ("c", 1)):
        pixels = rng.integers(1, 255, (20, 24, bands)).astype(np.uint8).squeeze()
        io.imsave(tiny.image(case, 0), pixels, check_contrast=False)
    _, problems = inspect_dataset(tiny.raw, {**tiny.dataset_json, "numTraining": 3})
    said = "1 of 3 cases is a file per modality, unlike the others: c. Save all alike."
    assert said in problems


def test_files_that_nnunet_cannot_read_are_refused(tiny):
    with pytest.raises(DatasetError, match="no reader of nnU-Net knows \"file_ending\" '.xyz'"):
        inspect_dataset(tiny.raw, {**tiny.dataset_json, "file_ending": ".xyz"})


def test_a_line_break_in_a_name_does_not_tear_the_table():
    lines = describe([InspectedCase("Tr", "a", ("T1\nce",), (), (), ())], [], ("FLAIR", "T1\nce")).splitlines()
    assert lines[:2] == ["case  split  FLAIR  T1 ce", "a     Tr       .      x"]
    assert "     1  Tr     T1 ce" in lines


def test_the_report_counts_subsets_and_lists_what_is_wrong():
    cases = [
        InspectedCase("Tr", "a", ("T1",), ("FLAIR",), ("T2",), ("T2 is torn.",)),
        InspectedCase("Tr", "b", ("T1",), (), (), ()),
        InspectedCase("Ts", "c", (), (), (), ()),
    ]
    assert describe(cases, ["labelsTr is empty."], NAMES).splitlines() == [
        "case  split  FLAIR  T1  T1ce  T2",
        "a     Tr       b    x    .    !",
        "b     Tr       .    x    .    .",
        "c     Ts       .    .    .    .",
        "x present, b there but blank (counts as absent), ! there but unusable, . absent",
        "",
        " cases  split  modalities",
        "     2  Tr     T1",
        "     1  Ts     none",
        "",
        "2 problems:",
        "- a: T2 is torn.",
        "- labelsTr is empty.",
    ]
    assert describe(cases[1:], [], NAMES).endswith("\n\nNothing is wrong with the files.")
