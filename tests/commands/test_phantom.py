"""Command ``phantom``: where it writes, what it returns, and that its log says what a case costs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pytest

from nnunet_missingmod.commands import phantom


def _run(*options: str) -> int:
    parser = argparse.ArgumentParser()
    phantom.add_arguments(parser)
    return phantom.run(parser.parse_args(options))


SMALL = ("--cases", "1", "--test-cases", "0", "--size", "24", "24", "24")


def test_dataset_goes_to_nnunet_raw_and_the_log_tells_seconds_per_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    with caplog.at_level(logging.INFO):
        assert _run(*SMALL, "--dataset-id", "7", "--name", "Toy") == 0
        assert "s per case" in caplog.text
        assert _run(*SMALL, "--dataset-id", "7", "--name", "Toy") == 0
    assert "1 of 1 cases are already there" in caplog.text
    assert (tmp_path / "Dataset007_Toy" / "dataset.json").is_file()


def test_output_goes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "variable"))
    assert _run(*SMALL, "--output", str(tmp_path / "option")) == 0
    assert not (tmp_path / "variable").exists()
    assert (tmp_path / "option" / "Dataset501_Phantom").is_dir()


def test_unset_variable_without_output_names_both_fixes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    assert _run(*SMALL) == 2
    assert "nnUNet_raw" in caplog.text
    assert "--output" in caplog.text


def test_head_that_does_not_fit_is_wrong_usage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert _run("--output", str(tmp_path), "--size", "40", "48", "40", "--spacing", "2") == 2
    assert "at least 4.32 mm" in caplog.text


def test_place_that_cannot_be_written_is_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert _run(*SMALL, "--output", str(blocked)) == 1
    assert str(blocked) in caplog.text
