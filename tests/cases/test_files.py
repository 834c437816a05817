"""Channels come from file names; whatever else a folder holds is named, never guessed."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_missingmod.cases.files import CaseRefusedError, assign_channels, case_name, hidden_files

NAMES = ("FLAIR", "T1", "T1ce", "T2")


@given(st.sets(st.integers(0, 3), min_size=1), st.randoms())
def test_any_subset_in_any_order_is_assigned_by_suffix(subset, random):
    files = [f"/data/case_1_{channel:04d}.nii.gz" for channel in subset]
    random.shuffle(files)
    assigned = assign_channels(files, NAMES, ".nii.gz")
    assert list(assigned) == sorted(subset)
    assert all(path.name == f"case_1_{channel:04d}.nii.gz" for channel, path in assigned.items())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["case_0004.nii.gz"], r"case_0004.nii.gz is channel 4, but the dataset has channels 0\.\.3"),
        (["case_t2.nii.gz"], "case_t2.nii.gz does not end with a channel number"),
        (["case_02.nii.gz"], "case_02.nii.gz does not end with a channel number"),
        (["a/case_0001.nii.gz", "b/case_0001.nii.gz"], "case_0001.nii.gz is T1 a second time"),
        (["case_0001.nii.gz", "other_0002.nii.gz"], "other_0002.nii.gz belongs to another case, 'other'"),
        (["case_0001.nrrd"], "case_0001.nrrd does not end with a channel number such as _0000.nii.gz"),
        ([], "no modality at all"),
    ],
)
def test_offenders_are_listed_beside_the_channel_names(files, message):
    with pytest.raises(CaseRefusedError, match=message) as caught:
        assign_channels(files, NAMES, ".nii.gz")
    assert "_0000.nii.gz FLAIR, _0001.nii.gz T1, _0002.nii.gz T1ce, _0003.nii.gz T2" in str(caught.value)


def test_every_offender_is_named_not_only_the_first():
    with pytest.raises(CaseRefusedError, match=r"case_0007.*case_0009"):
        assign_channels(["case_0007.nii.gz", "case_0009.nii.gz"], NAMES, ".nii.gz")


def test_case_name_is_the_file_name_without_suffix_and_ending():
    assert case_name("/a/BraTS20_001_0002.nii.gz", ".nii.gz") == "BraTS20_001"
    assert case_name("/a/scan.nii.gz", ".nii.gz") == "scan"


def test_refusal_survives_the_way_out_of_a_worker_process():
    error = pickle.loads(pickle.dumps(CaseRefusedError("case_1", "no modality at all.")))
    assert (str(error), error.case) == ("Case 'case_1' refused: no modality at all.", "case_1")


def test_hidden_files_of_the_datasets_ending_are_named_with_the_command(tmp_path):
    folder = tmp_path / "a dataset"
    assert hidden_files(folder, ".nii.gz") is None
    folder.mkdir()
    for name in ("a_0000.nii.gz", ".DS_Store", "._a_0000.nii", *(f"._a_{channel:04d}.nii.gz" for channel in range(7))):
        (folder / name).touch()
    said = hidden_files(folder, ".nii.gz")
    assert said is not None
    assert "._a_0003.nii.gz, ._a_0004.nii.gz and 2 others. Remove them" in said
    assert said.endswith(f"find '{folder}' -name '._*' -delete")
