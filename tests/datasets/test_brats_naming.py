"""Files that cannot be taken as they lie are the fault of their case, and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_missingmod.datasets.brats_case import Conversion, convert_case
from nnunet_missingmod.datasets.brats_naming import find_cases


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("files", "case"),
    [
        (["siteA/001/t1.nii.gz", "siteA/001/seg.nii.gz", "siteB/001/t2.nii.gz", "siteB/001/flair.nii.gz"], "001"),
        (["siteA/P1_t1.nii.gz", "siteB/P1_t2.nii.gz"], "P1"),
        (["siteA/P1_t1.nii.gz", "siteB/P1_t1.nii.gz"], "P1"),
        (["siteA/P1_t1.nii.gz", "siteB/P1_seg.nii.gz"], "P1"),
    ],
)
def test_files_of_one_name_in_two_folders_are_not_merged(tmp_path, files, case):
    touch(tmp_path, *files)
    cases, _ = find_cases(tmp_path)
    assert list(cases) == [case]
    one, other = sorted({str((tmp_path / file).parent) for file in files})
    with pytest.raises(
        ValueError, match=f"its files lie in {one} and {other}: the files of one case lie in one folder"
    ):
        convert_case(cases[case], Conversion(tmp_path / "raw"))


@pytest.mark.parametrize("inside", [[], ["inner_t1.nii.gz"], ["t1.nii.gz", "seg.nii.gz"]])
def test_a_folder_that_is_called_as_an_image_is_no_case_of_its_own(tmp_path, inside):
    touch(tmp_path, "p/p_t2.nii.gz", *[f"p/p_t1.nii.gz/{name}" for name in inside])
    (tmp_path / "p" / "p_t1.nii.gz").mkdir(exist_ok=True)
    cases, _ = find_cases(tmp_path)
    assert list(cases) == ["p"]
    with pytest.raises(ValueError, match=r"p_t1\.nii\.gz is a folder where an image is expected: put the image"):
        convert_case(cases["p"], Conversion(tmp_path / "raw"))


@pytest.mark.parametrize(
    "folder", [".Trash-1000/files", ".snapshot/d1", ".ipynb_checkpoints", "__MACOSX", "$RECYCLE.BIN/S-1", "x/@eaDir"]
)
def test_what_systems_keep_is_no_case(tmp_path, folder):
    deleted = [f"{folder}/{name}" for name in ("P1_t1.nii.gz", "P9/P9_t1.nii.gz", "P9_t2.nii.gz/P9_t2.nii.gz")]
    touch(tmp_path, "P1/P1_t1.nii.gz", "P1/P1_t2.nii.gz", *deleted)
    cases, unknown = find_cases(tmp_path)
    assert (list(cases), unknown) == (["P1"], [])
    assert cases["P1"].problem is None


def test_a_hidden_folder_that_is_given_is_read(tmp_path):
    touch(tmp_path / ".data", "P1/P1_t1.nii.gz")
    assert list(find_cases(tmp_path / ".data")[0]) == ["P1"]


@pytest.mark.parametrize("site", ["", "siteA/"])
def test_an_image_without_a_case_beside_the_folders_of_cases_is_refused(tmp_path, site):
    folder = tmp_path / "b19"
    touch(folder, f"{site}t2.nii.gz", f"{site}p/t1.nii.gz")
    cases, _ = find_cases(folder)
    name = Path(site).name or "b19"
    assert list(cases) == sorted([name, "p"])
    assert cases["p"].problem is None
    with pytest.raises(ValueError, match=r"t2\.nii\.gz names no case, and lies beside the folders of other cases"):
        convert_case(cases[name], Conversion(tmp_path / "raw"))


@pytest.mark.parametrize("folder", ["t1", "P1_t1", "T1-ce"])
def test_a_folder_of_one_sequence_is_not_taken_for_a_patient(tmp_path, folder):
    touch(tmp_path, f"{folder}/t1.nii.gz")
    (case,) = find_cases(tmp_path)[0].values()
    assert "names no case, and its folder is called after a sequence" in (case.problem or "")


def test_a_folder_that_is_a_case_itself_is_read(tmp_path, monkeypatch):
    touch(tmp_path, "p/t1.nii.gz", "p/seg.nii.gz")
    monkeypatch.chdir(tmp_path / "p")
    for folder in (tmp_path / "p", Path()):
        (case,) = find_cases(folder)[0].values()
        assert (case.name, case.problem) == ("p", None)


@pytest.mark.parametrize("file", ["p_T1.NII.GZ", "p_T1.nii.GZ", "p_T1.NII"])
def test_an_ending_in_capitals_is_named_with_its_case(tmp_path, file):
    touch(tmp_path, file)
    cases, unknown = find_cases(tmp_path)
    assert unknown == []
    with pytest.raises(ValueError, match=rf"{file} has an ending in capitals: rename it to \.nii or \.nii\.gz"):
        convert_case(cases["p"], Conversion(tmp_path / "raw"))
