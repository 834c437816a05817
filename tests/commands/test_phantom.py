"""Command ``phantom``: where it writes, what it returns, and that its log says what a case costs."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--size", "100000", "100000", "100000"), "too large to draw"),
        (("--spacing", "0.01"), "too large to draw"),
        (("--spacing", "1e-320"), "at least 0.01"),
        (("--size", "9" * 400, "64", "64"), "too large to draw"),
        (("--cases", "1000000000"), "at most 100000 of each"),
    ],
)
def test_absurd_numbers_are_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert _run("--output", str(tmp_path), *options) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [MemoryError(), BrokenProcessPool("a process ended")])
def test_too_little_memory_is_a_failure_that_says_what_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def exhausted(*_: object) -> None:
        raise error

    monkeypatch.setattr("nnunet_missingmod.demo.phantom_dataset.draw_case", exhausted)
    assert _run(*SMALL, "--output", str(tmp_path)) == 1
    assert "There was too little memory to draw a phantom. Give a smaller --size" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[]", "x"])
def test_a_record_that_is_none_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    record = tmp_path / "Dataset501_Phantom" / "phantom.json"
    record.parent.mkdir()
    record.write_text(content)
    assert _run(*SMALL, "--output", str(tmp_path)) == 2
    assert f"{record} is not that of phantoms" in capsys.readouterr().err
