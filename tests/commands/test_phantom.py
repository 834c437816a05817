"""Command ``phantom``: where it writes, what it returns, and that its log says what a case costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_missingmod.cli import main


def _run(*options: str) -> int:
    return main(["phantom", *options])


SMALL = ("--cases", "1", "--test-cases", "0", "--size", "24", "24", "24")


def test_dataset_goes_to_nnunet_raw_and_the_log_tells_seconds_per_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    assert _run(*SMALL, "--dataset-id", "7", "--name", "Toy") == 0
    assert "s per case" in capsys.readouterr().err
    assert _run(*SMALL, "-d", "7", "--name", "Toy") == 0
    assert "1 of 1 cases are already there" in capsys.readouterr().err
    assert (tmp_path / "Dataset007_Toy" / "dataset.json").is_file()


def test_output_goes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "variable"))
    assert _run(*SMALL, "--output", str(tmp_path / "option"), "--jobs", "1") == 0
    assert not (tmp_path / "variable").exists()
    assert (tmp_path / "option" / "Dataset501_Phantom").is_dir()


def test_unset_variable_without_output_names_both_fixes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    assert _run(*SMALL) == 2
    said = capsys.readouterr().err
    assert "nnUNet_raw" in said
    assert "--output" in said


def test_head_that_does_not_fit_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--output", str(tmp_path), "--size", "40", "48", "40", "--spacing", "2") == 2
    assert "at least 4.32 mm" in capsys.readouterr().err


def test_place_that_cannot_be_written_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert _run(*SMALL, "--output", str(blocked)) == 1
    assert str(blocked) in capsys.readouterr().err
