"""The demo's arguments, and how it refuses to start; the whole of it runs in tests/end_to_end/test_demo.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_missingmod import host
from nnunet_missingmod.cli import main, make_parser
from nnunet_missingmod.demo import run
from nnunet_missingmod.demo.settings import DemoFolder, DemoSettings


def test_demo_without_attach_says_so_and_makes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(host, "unattached", lambda: [tmp_path / "bridge"])
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 1
    assert "nnunet_missingmod attach" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.fixture
def started(monkeypatch):
    """What the demo was started with, in place of starting it."""
    seen = []
    monkeypatch.setattr(run, "run_demo", lambda *args, **more: seen.append((*args, more)))
    return seen


def test_defaults_are_those_of_the_settings(started, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    ((folder, settings, more),) = started
    assert (folder, settings) == (DemoFolder(tmp_path / "nnunet_missingmod_demo"), DemoSettings())
    assert (more["device"], more["jobs"]) == ("cpu", 2)


@pytest.mark.parametrize(("output", "device"), [("--output", "--device"), ("-o", "-device")])
def test_every_option_reaches_the_demo_by_either_spelling(started, tmp_path, output, device):
    options = ["--cases", "5", "--test-cases", "1", "--size", "28", "30", "32", "--width", "4", "--batch-size", "3"]
    options += ["--epochs", "1", "--iterations", "2", "--seed", "9", "-np", "3", output, str(tmp_path), device, "cuda"]
    assert main(["demo", *options]) == 0
    ((folder, settings, more),) = started
    assert folder == DemoFolder(tmp_path)
    assert settings == DemoSettings(
        cases=5, test_cases=1, size=(28, 30, 32), width=4, batch_size=3, epochs=1, iterations=2, seed=9
    )
    assert (more["device"], more["jobs"]) == ("cuda", 3)


def test_help_gives_every_default_once():
    shown = make_parser("demo").format_help()
    assert "(default: 40 48 40)" in shown.replace("\n", " ")
    assert "(default: 2) (default" not in shown
    assert shown.count("(default: cpu)") == 1


def test_a_folder_of_something_else_is_wrong_usage(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(host, "unattached", list)
    (tmp_path / "thesis.tex").touch()
    assert main(["demo", "-o", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [file.name for file in Path(tmp_path).iterdir()] == ["thesis.tex"]


def test_no_process_at_all_is_wrong_usage(started, tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path), "-np", "0"]) == 2
    assert "-np is 1 or more, got 0" in capsys.readouterr().err
    assert not started


def test_settings_that_make_no_phantom_are_a_failure_with_its_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(host, "unattached", list)
    assert main(["demo", "-o", str(tmp_path / "demo"), "--cases", "0"]) == 1
    assert "at least 1 training case" in capsys.readouterr().err
