"""Every subset of every case as files, for one prediction command."""

from __future__ import annotations

import pytest

from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.inference.subset_folder import write_subset_folder
from nnunet_missingmod.modalities import all_subsets

NAMES = ("FLAIR", "T1", "T1ce")


@pytest.fixture
def complete(tmp_path):
    folder = tmp_path / "complete"
    folder.mkdir()
    for case in ("a", "b"):
        for channel in range(3):
            (folder / f"{case}_{channel:04d}.nii.gz").write_text(f"{case}{channel}")
    return folder


def test_each_subset_of_each_case_has_its_files_and_no_others(complete, tmp_path):
    stems = write_subset_folder(complete, tmp_path / "all", names=NAMES, file_ending=".nii.gz")
    assert len(stems) == 2 * 7
    for case in ("a", "b"):
        for subset in all_subsets(3):
            stem = stems[case, "+".join(NAMES[c] for c in subset)]
            files = sorted((tmp_path / "all").glob(f"{stem}_*"))
            assert [file.name[-11:-7] for file in files] == [f"{channel:04d}" for channel in subset]
            assert [file.read_text() for file in files] == [f"{case}{channel}" for channel in subset]


def test_only_the_subsets_asked_for(complete, tmp_path):
    stems = write_subset_folder(complete, tmp_path / "some", names=NAMES, file_ending=".nii.gz", subsets=[(1,)])
    assert set(stems) == {("a", "T1"), ("b", "T1")}
    assert len(list((tmp_path / "some").iterdir())) == 2


def test_a_second_call_changes_nothing(complete, tmp_path):
    first = write_subset_folder(complete, tmp_path / "all", names=NAMES, file_ending=".nii.gz")
    assert write_subset_folder(complete, tmp_path / "all", names=NAMES, file_ending=".nii.gz") == first


def test_copies_where_links_are_not_possible(complete, tmp_path, monkeypatch):
    def no_links(*_args):
        raise OSError

    monkeypatch.setattr("os.link", no_links)
    stems = write_subset_folder(complete, tmp_path / "all", names=NAMES, file_ending=".nii.gz")
    assert (tmp_path / "all" / f"{stems['a', 'T1ce']}_0002.nii.gz").read_text() == "a2"


def test_incomplete_case_and_empty_folder_are_refused(complete, tmp_path):
    (complete / "b_0001.nii.gz").unlink()
    with pytest.raises(CaseRefusedError, match="'b' refused: it lacks T1"):
        write_subset_folder(complete, tmp_path / "all", names=NAMES, file_ending=".nii.gz")
    with pytest.raises(FileNotFoundError, match="no case"):
        write_subset_folder(tmp_path, tmp_path / "all", names=NAMES, file_ending=".nii.gz")
