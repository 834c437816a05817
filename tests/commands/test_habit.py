"""One habit for every command: the same thing has the same option, and nothing but a command prints."""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from nnunet_missingmod import host
from nnunet_missingmod.cli import main, make_parser
from nnunet_missingmod.commands.table import COMMANDS

PACKAGE = Path(__file__).parents[2] / "nnunet_missingmod"

# nnU-Net's short spelling and its one long one.
PAIRS = {
    "-i": "--input",
    "-o": "--output",
    "-d": "--dataset",
    "-c": "--configuration",
    "-p": "--plans",
    "-tr": "--trainer",
    "-f": "--folds",
    "-m": "--model",
    "-chk": "--checkpoint",
    "-np": "--processes",
    "-npp": "--preparing",
    "-nps": "--exporting",
    "-device": "--device",
    "-step_size": "--step-size",
    "-prev_stage_predictions": "--prev-stage-predictions",
    "-num_parts": "--num-parts",
    "-part_id": "--part-id",
    "-ref": "--references",
    "-h": "--help",
}
# Spellings of earlier versions, which are read as long as there is anyone who may have written them down.
EARLIER = {
    "evaluate": ["FOLDER", "NAME=FOLDER", "-o", "X", "--jobs", "2", "--device", "cpu"],
    "phantom": ["--output", "X", "--dataset-id", "7", "--jobs", "2"],
    "convert-brats": ["FOLDER", "--dataset-id", "7", "--output", "X", "--jobs", "2"],
    "demo": ["--output", "X", "--device", "cpu"],
    "inspect": ["901", "-o", "X", "-np", "2"],
    "predict": [
        *("-i", "X", "-o", "Y", "-d", "1", "-c", "2d", "-tr", "T", "-p", "P", "-f", "0", "1", "-chk", "C"),
        *("-device", "cpu", "-step_size", "0.5", "--disable_tta", "-prev_stage_predictions", "Z"),
        *("--save_probabilities", "--continue_prediction", "-num_parts", "2", "--part_id", "1"),
    ],
    "advise": ["-m", "X", "-d", "1", "-c", "2d", "-tr", "T", "-p", "P", "--present", "T1", "T2"],
}


def parsers():
    return {name: make_parser(name) for name in COMMANDS}


def options(parser):
    return [action for action in parser._actions if action.option_strings]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_short_option_has_its_one_long_one(name):
    for action in options(make_parser(name)):
        short = [spelling for spelling in action.option_strings if not spelling.startswith("--")]
        long = [spelling for spelling in action.option_strings if spelling.startswith("--")]
        assert len(long) == 1, action.option_strings
        assert short == [each for each in PAIRS if PAIRS[each] == long[0]], action.option_strings


def test_the_same_spelling_means_the_same_in_every_command():
    meanings = defaultdict(lambda: defaultdict(list))
    for name, parser in parsers().items():
        for spelling, action in parser._option_string_actions.items():
            meanings[spelling][action.dest, tuple(action.option_strings)].append(name)
    assert {spelling: dict(found) for spelling, found in meanings.items() if len(found) > 1} == {}


def test_the_same_thing_has_the_same_spelling_in_every_command():
    spellings = defaultdict(set)
    for parser in parsers().values():
        for action in options(parser):
            spellings[action.dest].add(tuple(action.option_strings))
    assert {dest: found for dest, found in spellings.items() if len(found) > 1} == {}


def test_a_long_option_is_called_as_what_it_is_stored_under():
    for parser in parsers().values():
        for action in options(parser):
            if action.dest != "help":
                assert action.option_strings[-1].removeprefix("--").replace("-", "_") == action.dest


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_verbose(name):
    assert "--verbose" in make_parser(name)._option_string_actions


@pytest.mark.parametrize("name", ["predict", "advise", "audit", "evaluate", "share"])
def test_a_model_is_given_by_its_folder_or_as_nnunet_names_it(name):
    known = make_parser(name)._option_string_actions
    assert {"-m", "-d", "-c", "-tr", "-p"} <= set(known)


@pytest.mark.parametrize("name", EARLIER)
def test_spellings_of_earlier_versions_are_read(name):
    args = make_parser(name).parse_args(EARLIER[name])
    asked = {"output": Path("X"), "processes": 2, "dataset": 7}
    words = EARLIER[name]
    for spelling, dest in (("--output", "output"), ("--jobs", "processes"), ("--dataset-id", "dataset")):
        if spelling in words:
            assert getattr(args, dest) == asked[dest]


@pytest.mark.parametrize("name", COMMANDS)
def test_earlier_spellings_are_not_shown(name):
    shown = make_parser(name).format_help()
    assert "--jobs" not in shown
    assert "--dataset-id" not in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is(name):
    silent = [action.dest for action in make_parser(name)._actions if not action.help and action.dest != "case"]
    assert silent == []
    assert all(action.help is not argparse.SUPPRESS for action in make_parser(name)._actions)


# Arguments with which each command would start if its output were right; FOLDER is an empty folder, CASES has a case.
STARTS = {
    "predict": ["-i", "FOLDER", "-m", "FOLDER"],
    "evaluate": ["-m", "FOLDER"],
    "audit": ["-m", "FOLDER"],
    "share": ["-m", "FOLDER"],
    "inspect": ["-d", "FOLDER"],
    "phantom": ["--cases", "1"],
    "convert-brats": ["CASES", "-d", "7"],
    "demo": [],
}
# What may be given as a path: each is refused if it is empty.
PATHS = {
    "predict": ["-i", "-o", "-m", "-prev_stage_predictions", "--image", "--image=T1=", "-chk", "-d", "--case"],
    "evaluate": ["-i", "-o", "-m", "-m=x=", "-ref", "-chk", "--predictions", "--scores", "--prevalence", ""],
    "audit": ["-i", "-o", "-m", "--scores", "--scores=x=", "-chk", "-d"],
    "inspect": ["-i", "-o", "-d", "--prevalence", ""],
    "phantom": ["-o", "--name"],
    "convert-brats": ["-o", "", "--name"],
    "demo": ["-o"],
    "share": ["-o", "-m", "-chk", "-d", "--license", ""],
    "advise": ["-m", "-d", "--present"],
}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return a function that runs a command in an empty folder; it must refuse, in a sentence, and write nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("nnUNet_raw", raising=False)
    monkeypatch.setattr(host, "unattached", list)
    for file in ("file", "FOLDER/.keep", "CASES/a_t1.nii.gz"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).touch()

    def run(name, *arguments):
        before = sorted(tmp_path.rglob("*"))
        code = main([name, *arguments])
        assert sorted(tmp_path.rglob("*")) == before
        return code

    return run


def test_every_command_that_writes_is_known_here():
    assert {name for name in COMMANDS if "-o" in make_parser(name)._option_string_actions} == set(STARTS)


@pytest.mark.parametrize("output", ["file", "file/below", "/proc/nowhere", "o" * 300])
@pytest.mark.parametrize("name", [name for name in STARTS if name != "share"])
def test_an_output_that_cannot_be_written_to_is_wrong_usage(start, capsys, name, output):
    assert start(name, *STARTS[name], "-o", output) == 2
    said = capsys.readouterr().err
    assert f"{name}: Cannot write into {output}" in said.replace(str(Path.cwd()) + "/", "")
    assert "Choose another -o, or mend the access rights." in said


@pytest.mark.parametrize("output", ["file/x.zip", "/proc/nowhere/x.zip", "o" * 300 + "/x.zip"])
def test_a_file_that_cannot_be_written_is_wrong_usage(start, capsys, output):
    assert start("share", *STARTS["share"], "-o", output) == 2
    assert f"share: Cannot write into {Path(output).parent}" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in PATHS.items() for path in paths])
def test_an_empty_path_is_wrong_usage(start, capsys, name, path):
    given = [path] if "=" in path else [path, ""] if path else [""]
    started = [word for word in STARTS.get(name, ["-m", "FOLDER"]) if path or word != "CASES"]
    started = started[2:] if path == "--image=T1=" else started
    assert start(name, *started, *(["-o", "new"] if name in STARTS and path != "-o" else []), *given) == 2
    said = capsys.readouterr().err
    assert "is empty" in said or "--image takes NAME=FILE" in said


@pytest.mark.parametrize("unknown", ["--nonsense", "-x", "-vice", "--verb", "-hx"])
@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_is_unknown_or_abbreviated_is_wrong_usage(start, capsys, name, unknown):
    required = {"predict": ["-o", "new"], "evaluate": ["-o", "new"], "advise": ["--present", "T1"]}
    required["share"] = ["-o", "new"]
    required["convert-brats"] = ["CASES", "-d", "7"]
    assert start(name, *required.get(name, []), unknown) == 2
    assert f"unrecognized arguments: {unknown}" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_no_start_of_an_option_stands_for_it(name):
    parser = make_parser(name)
    known = parser._option_string_actions
    for spelling in known:
        for end in range(2, len(spelling)):
            if spelling[:end] not in known and spelling[:end] != "--":
                assert parser.parse_known_args([*_of_required(parser), spelling[:end]])[1] == [spelling[:end]]


def _of_required(parser):
    words = []
    for action in parser._actions:
        if action.required:
            words += [*action.option_strings[:1], "1"]
    return words


def test_wrong_usage_is_said_before_torch_is_imported(tmp_path):
    wrong = [
        ["predict", "-i", "nowhere", "-m", ".", "-o", "x"],
        ["predict", "-i", ".", "-m", "nomodel", "-o", "x"],
        ["predict", "-i", ".", "-m", ".", "-o", "x", "-np", "0"],
        ["predict", "-i", ".", "-m", ".", "-o", "x", "--geometry-tolerance", "-1"],
        ["predict", "-i", ".", "-m", ".", "-o", "/dev/null/x"],
        ["predict", "--image", "T1", "-m", ".", "-o", "x"],
        ["evaluate", "x", "-o", "y", "-step_size", "2"],
        ["evaluate", "x", "-o", "y", "--least-size", "ET"],
        ["evaluate", "x", "-o", "y", "-i", "nowhere", "-ref", "."],
        ["evaluate", "x", "-o", "/dev/null/x"],
        ["demo", "-o", "x", "--cases", "0"],
        ["advise", "-m", "nomodel", "--present", "T1"],
        ["audit", "nomodel"],
        ["share", "nomodel", "-o", "x.zip"],
        ["audit", ".", "--scores", "nowhere"],
        ["inspect", "-np", "0", "-d", "1"],
    ]
    code = (
        f"import sys; from nnunet_missingmod.cli import main; codes = [main(each) for each in {wrong}];"
        "assert set(codes) == {2}, codes; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def _writes_to_the_terminal(node):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id == "print"
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
        and node.attr in ("stdout", "stderr")
    )


def test_commands_print_and_nothing_else_does():
    printing = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if any(map(_writes_to_the_terminal, ast.walk(ast.parse(file.read_text(encoding="utf-8")))))
    }
    assert {file for file in printing if not file.startswith("commands/")} == {"cli.py"}
