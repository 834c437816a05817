"""A folder becomes cases by its files' names, and everything that is wrong with a case is found at once."""

from __future__ import annotations

import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

from nnunet_missingmod.cases.files import CaseFiles, find_cases
from nnunet_missingmod.cases.preflight import check_case, read_case_labels
from nnunet_missingmod.plans_block import resolve

NAMES = ("FLAIR", "T1", "T1ce", "T2")
ENDING = ".nii.gz"


def found(folder, *files):
    for file in files:
        (folder / file).touch()
    return {case.case: case for case in find_cases(folder, NAMES, ENDING)}


def check(case, reader=SimpleITKIO, **choices):
    return check_case(case, NAMES, reader(), file_ending=ENDING, choices=resolve(choices), labels=(0, 1, 2, 3))


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=1)


@pytest.fixture
def case(tiny):
    return CaseFiles("case_000", {channel: tiny.image("case_000", channel) for channel in range(4)})


def rewrite(file, change, **geometry):
    image = sitk.ReadImage(str(file))
    changed = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
    for part, value in geometry.items():
        getattr(changed, part)(value)
    sitk.WriteImage(changed, str(file))


def test_cases_are_made_of_suffixes_and_other_files_are_passed_over(tmp_path):
    cases = found(
        tmp_path,
        "b_0003.nii.gz",
        "a_0001.nii.gz",
        "b_0000.nii.gz",
        ".DS_Store",
        "._a_0001.nii.gz",
        "notes.txt",
        "a.json",
        "shot.png",
    )
    assert list(cases) == ["a", "b"]
    assert {channel: file.name for channel, file in cases["b"].files.items()} == {
        0: "b_0000.nii.gz",
        3: "b_0003.nii.gz",
    }
    assert not any(case.problems for case in cases.values())


@pytest.mark.parametrize(
    "stray",
    [
        "a_t2.nii.gz",
        "a_2.nii.gz",
        "a_00002.nii.gz",
        "a.nii.gz",
        "a-0002.nii.gz",
        "a_0002.nii",
        "a_0002.mha",
        "a_0002.NII.GZ",
        "a_0002 (1).nii.gz",
        "a_\u0660\u0660\u0660\u0662.nii.gz",
        "a_0004.nii.gz",
    ],
)
def test_an_image_that_is_no_channels_file_makes_its_case_unusable(tmp_path, stray):
    cases = found(tmp_path, "a_0001.nii.gz", "ab_0001.nii.gz", stray)
    assert list(cases) == ["a", "ab"]
    assert not cases["ab"].problems
    (problem,) = cases["a"].problems
    assert stray in problem
    assert "_0000.nii.gz FLAIR, _0001.nii.gz T1, _0002.nii.gz T1ce, _0003.nii.gz T2" in problem


def test_an_image_that_belongs_to_no_case_is_one_that_cannot_be_used(tmp_path):
    cases = found(tmp_path, "a_0001.nii.gz", "b_0001.nii", "c.nii.gz")
    assert [case for case in cases if cases[case].problems] == ["b", "c"]


@given(
    name=st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=40).filter(
        lambda name: not name.startswith(".")
    ),
    channels=st.sets(st.integers(0, 3), min_size=1),
)
@settings(max_examples=80, deadline=None)
def test_any_name_that_a_file_system_takes_is_a_case(tmp_path_factory, name, channels):
    folder = tmp_path_factory.mktemp("names")
    cases = found(folder, *(f"{name}_{channel:04d}{ENDING}" for channel in channels))
    assert list(cases) == [name]
    assert set(cases[name].files) == channels
    shutil.rmtree(folder)


def test_good_case_has_no_problem_and_its_blank_and_moved_modalities_are_told(case):
    rewrite(case.files[1], lambda array: np.full_like(array, 3))
    rewrite(case.files[2], lambda array: array, SetOrigin=(0.05, 0, 0))
    checked = check(case)
    assert checked.problems == ()
    assert checked.present == ("FLAIR", "T1ce", "T2")
    assert checked.blank == ("T1",)
    assert checked.grid_distance_voxels == {"T1ce": pytest.approx(0.05, rel=1e-4)}
    assert checked.grid.shape == (18, 20, 22)
    assert check(case, blank_is_absent=False).present == NAMES


def test_all_faults_of_a_case_are_found_at_once(tiny, case):
    case.files[0].write_bytes(case.files[0].read_bytes()[:5000])

    def with_nan(array):
        array[5, 5, 5:9] = np.nan
        return array

    rewrite(case.files[1], with_nan)
    rewrite(case.files[2], lambda array: array[:, :, 1:])
    sitk.WriteImage(sitk.JoinSeries([sitk.ReadImage(str(case.files[3]))] * 2), str(case.files[3]))
    stray = CaseFiles(case.case, case.files, ("stray.nii.gz",), previous_stage=tiny.raw / "none.nii.gz")
    problems = check(stray).problems
    for fault in (
        r"stray.nii.gz",
        "(FLAIR) cannot be read: the file is truncated",
        "T1 has 4 NaN or infinite voxels",
        "(T1ce): shape (18, 20, 21)",
        "(T2) holds 2 channels",
        "none.nii.gz is not there. Predict this case with the previous stage's model",
    ):
        assert [fault in problem for problem in problems].count(True) == 1, fault
    assert len(problems) == 6


def test_nonfinite_voxels_are_counted_where_they_may_be_zeroed(case):
    def with_inf(array):
        array[5, 5, 5:9] = np.inf
        return array

    rewrite(case.files[3], with_inf)
    assert check(case, nonfinite="zero").nonfinite_zeroed == {"T2": 4}
    assert check(case, nonfinite="zero").problems == ()


def test_case_of_blank_files_has_no_modality(case):
    rewrite(case.files[2], np.zeros_like)
    (problem,) = check(CaseFiles("case_000", {2: case.files[2]})).problems
    assert problem.startswith("T1ce blank, the others absent. Give at least one of: FLAIR, T1, T1ce, T2")


def test_previous_stage_must_be_whole_on_the_same_grid_and_hold_the_labels(tiny, case):
    previous = tiny.label("case_000")
    staged = CaseFiles(case.case, case.files, previous_stage=previous)
    assert check(staged).problems == ()
    rewrite(previous, lambda array: array + 3)
    assert "holds 4, 5, 6, but the dataset's labels are [0, 1, 2, 3]" in check(staged).problems[0]
    rewrite(previous, lambda array: (array * 0.5).astype(np.float32))
    assert "not whole numbers" in check(staged).problems[0]
    previous.write_bytes(previous.read_bytes()[:-9])
    assert "cannot be read: the file is truncated" in check(staged).problems[0]


@pytest.mark.parametrize("reader", [NibabelIOWithReorient, SimpleITKIOWithReorient])
def test_previous_stage_is_turned_by_the_transform_that_turns_the_images(tmp_path, reader):
    voxels = np.random.default_rng(0).integers(0, 4, (8, 9, 10)).astype(np.uint8)
    mirrored = np.diag([-1.0, 1, 1, 1])
    for name, sform in (("case_000_0000", mirrored), ("same", mirrored), ("off", np.eye(4))):
        image = nibabel.Nifti1Image(voxels, np.eye(4))
        image.set_sform(sform, 1)
        image.set_qform(np.eye(4), 1)
        nibabel.save(image, tmp_path / f"{name}{ENDING}")
    files = {0: tmp_path / f"case_000_0000{ENDING}"}
    for transform in ("sform", "qform"):
        choices = resolve({"nifti_transform": transform})
        grid = check(CaseFiles("case_000", files), reader, **choices).grid
        same = CaseFiles("case_000", files, previous_stage=tmp_path / f"same{ENDING}")
        assert check(same, reader, **choices).problems == ()
        labels = read_case_labels(same.previous_stage, reader(), grid, choices=choices)
        stored = voxels.transpose()[None]  # (1, Z, Y, X)
        np.testing.assert_array_equal(labels, stored[..., ::-1] if transform == "sform" else stored)
    off = CaseFiles("case_000", files, previous_stage=tmp_path / f"off{ENDING}")
    (problem,) = check(off, reader, nifti_transform="sform").problems
    assert "off.nii.gz lies 7 voxels off the images' grid" in problem
