"""Names of modalities are found, and what is wrong is answered with what is right."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod.cases.memory import MemoryImage
from nnunet_missingmod.inference.named_images import assign_names, common_name

NAMES = ("FLAIR", "T1", "T1ce", "T2")


def test_names_become_channels_in_channel_order():
    assert list(assign_names({"T2": "b.nii.gz", "FLAIR": "a.nii.gz"}, NAMES).items()) == [
        (0, Path("a.nii.gz")),
        (3, Path("b.nii.gz")),
    ]


@pytest.mark.parametrize(("given", "meant"), [("T1c", "T1ce"), ("t2w", "T2"), ("flaire", "FLAIR")])
def test_wrong_name_is_refused_with_the_right_ones(given, meant):
    said = f"no modality '{given}'. Did you mean '{meant}'? Its modalities are: FLAIR, T1, T1ce, T2."
    with pytest.raises(ValueError, match=re.escape(said)):
        assign_names({given: "a.nii.gz"}, NAMES)


def test_the_case_of_a_name_matters_only_where_it_tells_channels_apart():
    assert assign_names({"t1CE": "a.mha", "flair": "b.mha"}, NAMES) == {0: Path("b.mha"), 2: Path("a.mha")}
    assert assign_names({"t1": "a.mha", "T1": "b.mha"}, ("T1", "t1")) == {0: Path("b.mha"), 1: Path("a.mha")}
    with pytest.raises(ValueError, match="'Ax' may be ax or AX: write it exactly so"):
        assign_names({"Ax": "a.mha"}, ("ax", "AX"))
    with pytest.raises(ValueError, match="'T1' and 't1' are both T1. Give it once"):
        assign_names({"T1": "a.mha", "t1": "b.mha"}, NAMES)


def test_images_in_memory_stand_beside_files():
    image = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.float32))
    found = assign_names({"T1": image, "T2": Path("/p/patient7.mha"), "FLAIR": (np.zeros((3, 4, 5)), (1, 2, 3))}, NAMES)
    assert [type(each) for each in found.values()] == [MemoryImage, MemoryImage, type(Path())]
    assert common_name(list(found.values()), NAMES) == "patient7"
    assert common_name(list(found.values())[:2], NAMES) == "case"
    with pytest.raises(ValueError, match="an image in memory is given as T1 and as T2"):
        assign_names({"T1": image, "T2": image}, NAMES)
    with pytest.raises(ValueError, match=r"^T1: An image is a path, a SimpleITK image, or \(array, spacing"):
        assign_names({"T1": 3}, NAMES)


@pytest.mark.parametrize("given", ["PET", "T3"])
def test_name_unlike_any_gets_no_suggestion(given):
    with pytest.raises(ValueError, match=rf"no modality '{given}'\. Its modalities are"):
        assign_names({given: "a.nii.gz"}, NAMES)


def test_no_modality_and_one_file_for_two_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Give at least one of: FLAIR, T1, T1ce, T2"):
        assign_names({}, NAMES)
    with pytest.raises(ValueError, match="is given as T1 and as T2"):
        assign_names({"T1": tmp_path / "a.nii.gz", "T2": tmp_path / "x" / ".." / "a.nii.gz"}, NAMES)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["patient_0000.nii.gz", "patient_0003.nii.gz"], "patient"),
        (["patient_0001.nii.gz"], "patient"),
        (["p01_t1.nii.gz", "p01_t2.nii.gz"], "p01"),
        (["p01_flair.nii.gz", "p01_t2.nii.gz"], "p01"),
        (["p01-t1ce.nii.gz", "p01-t1.nii.gz"], "p01"),
        (["p1_0000.nii.gz", "p1_0001.nii.gz"], "p1"),
        (["p01.nii.gz", "p01_t2.nii.gz"], "p01"),
        (["scan.nii.gz"], "scan"),
        (["1.2.840.113.7.nii.gz"], "1.2.840.113.7"),
        (["PATIENT.NII.GZ"], "PATIENT"),
        (["P1_0000.Nii.Gz"], "P1"),
        (["00123_t1.mha", "00123_t2.mha"], "00123"),
    ],
)
def test_case_is_called_what_its_files_have_in_common(files, name):
    assert common_name([Path("/data") / file for file in files], NAMES) == name


@pytest.mark.parametrize(
    "files",
    [
        ["t1.nii.gz", "t2.nii.gz"],
        ["t1.nii.gz"],
        ["flair.nii.gz"],
        ["T1CE.nii.gz"],
        ["flair.nii.gz", "t1.nii.gz"],
        ["1.2.840.113.7.nii.gz", "1.2.840.113.9.nii.gz"],
        ["1.nii.gz", "2.nii.gz"],
        ["T1/image.nii.gz", "T2/image.nii.gz"],
        ["T1/0001.nii.gz", "T2/0002.nii.gz"],
    ],
)
def test_case_whose_files_are_called_as_every_patients_is_called_as_their_folder(files, tmp_path, monkeypatch):
    (tmp_path / "PATIENT1").mkdir()
    monkeypatch.chdir(tmp_path / "PATIENT1")
    assert common_name([Path("/data/PATIENT2") / file for file in files], NAMES) == "PATIENT2"
    assert common_name([Path(file) for file in files], NAMES) == "PATIENT1"


@pytest.mark.parametrize("case", [Path("a.nii.gz"), "a.nii.gz", [Path("a.nii.gz")], None])
def test_a_case_is_a_mapping(case):
    with pytest.raises(ValueError, match=r'A case is {modality: image}, as {"FLAIR": "scan.nii.gz"}; got '):
        assign_names(case, NAMES)


def test_a_name_that_may_be_two_modalities_is_neither():
    assert list(assign_names({" t2 ": "a.nii.gz"}, ("T1", "T2"))) == [1]
    with pytest.raises(ValueError, match="'T1C' may be T1c or t1C: write it exactly so"):
        assign_names({"T1C": "a.nii.gz"}, ("T1c", "t1C"))
