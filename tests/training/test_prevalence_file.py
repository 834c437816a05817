"""A prevalence file is found where the plans say, and what differs from a training's beginning is said."""

from __future__ import annotations

import pytest

from nnunet_missingmod.training.prevalence_file import PrevalenceFile

NAMES = ("T2", "DWI")
BEGAN = {"T2": 1, "T2+DWI": 3}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("subset,count\ndwi+t2,3\nT2,1\nDWI,0\n")
    return path


def test_its_path_may_be_relative_or_hold_a_variable(file, monkeypatch):
    monkeypatch.setenv("SITE", str(file.parent))
    for named, folder in ((str(file), None), ("p.csv", str(file.parent)), ("$SITE/p.csv", "/nowhere")):
        found = PrevalenceFile.read(named, folder, NAMES)
        assert found == PrevalenceFile(file, BEGAN)
        assert list(found.weights) == ["T2", "T2+DWI"]
    monkeypatch.chdir(file.parent)
    assert PrevalenceFile.read("p.csv", None, NAMES).file == file


def test_what_is_the_same_needs_no_notice(file):
    assert PrevalenceFile.read(str(file), None, NAMES).notice({"T2+DWI": 3.0, "T2": 1}) is None


def test_a_changed_file_is_told_with_what_differs(file):
    file.write_text("subset,count\nT2+DWI,3\nDWI,5\n")
    notice = PrevalenceFile.read(str(file), None, NAMES).notice(BEGAN)
    assert notice.startswith(f"WARNING: {file} says something else than when this training began (T2 was 1, is 0; DWI ")
    assert "DWI was 0, is 5). This training goes on with the subsets that it began with" in notice


def test_of_many_differences_a_few_are_told(tmp_path):
    found = PrevalenceFile(tmp_path, dict.fromkeys("abcdefg", 2))
    assert "; d was 1, is 2; and 3 more)" in found.notice(dict.fromkeys("abcdefg", 1))


def test_a_file_that_is_gone_is_a_problem_and_told(tmp_path):
    found = PrevalenceFile.read("gone.csv", str(tmp_path), NAMES)
    assert str(found.problem).startswith(f'"modality_subsets" of the plans: {tmp_path / "gone.csv"} cannot be read')
    notice = found.notice(BEGAN)
    assert notice.startswith("This training goes on with the subsets that it began with")
    assert notice.endswith(f"It cannot use the file as it is now: {found.problem}")
