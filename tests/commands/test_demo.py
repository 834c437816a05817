"""The demo's arguments, and how it refuses to start; the whole of it runs in tests/end_to_end/test_demo.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_missingmod import host
from nnunet_missingmod.cli import main, make_parser
from nnunet_missingmod.demo import run
from nnunet_missingmod.demo.settings import DemoFolder, DemoSettings


def test_demo_without_nnunet_says_so_and_makes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(host.importlib.util, "find_spec", lambda name: None)
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 2
    assert "pip install nnunetv2" in capsys.readouterr().err
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


def test_a_folder_of_something_else_is_wrong_usage(tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    assert main(["demo", "-o", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [file.name for file in Path(tmp_path).iterdir()] == ["thesis.tex"]


def test_no_process_at_all_is_wrong_usage(started, tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path), "-np", "0"]) == 2
    assert "-np is 1 or more, got 0" in capsys.readouterr().err
    assert not started


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cases", "0"], "--cases of the demo is 5 or more, got 0"),
        (["--test-cases", "0"], "--test-cases of the demo is 1 or more"),
        (["--epochs", "0"], "--epochs of the demo is 1 or more"),
        (["--batch-size", "-1"], "--batch-size of the demo is 1 or more"),
        (["--seed", "-1"], "--seed of the demo is 0 or more"),
        (["--size", "4", "4", "4"], "too coarse for a tumour"),
        (["--size", "9999", "9999", "9999"], "too large to draw"),
        (["-device", "quantum"], "give auto, cuda, cuda:1, mps or cpu, got 'quantum'"),
    ],
)
def test_every_argument_is_checked_before_anything_is_written(tmp_path, capsys, arguments, said):
    assert main(["demo", "-o", str(tmp_path / "demo"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_not_there_is_wrong_usage(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["demo", "-o", str(tmp_path / "demo"), "-device", "cuda:1"]) == 2
    assert "There is no device 'cuda:1' here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("content", "said"), [("[]", "it holds []"), ("x", "it is no JSON"), ("", "it is empty")])
def test_a_demo_json_that_is_none_is_wrong_usage(tmp_path, capsys, content, said):
    (tmp_path / "demo.json").write_text(content)
    assert main(["demo", "-o", str(tmp_path)]) == 2
    assert f"demo.json is not that of a demo: {said}" in capsys.readouterr().err
    assert (tmp_path / "demo.json").read_text() == content
