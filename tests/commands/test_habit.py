"""One habit for every command: the same thing has the same option, and nothing but a command prints."""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from pathlib import Path

import pytest

from nnunet_missingmod.cli import make_parser
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
    "evaluate": ["FOLDER", "NAME=FOLDER", "-o", "X", "--jobs", "2", "--device", "cpu", "-device", "cpu"],
    "phantom": ["--output", "X", "--dataset-id", "7", "--jobs", "2"],
    "convert-brats": ["FOLDER", "--dataset-id", "7", "--output", "X", "--jobs", "2"],
    "demo": ["--output", "X", "--device", "cpu"],
    "inspect": ["901", "-o", "X", "-np", "2"],
    "predict": [
        *("-i", "X", "-o", "Y", "-d", "1", "-c", "2d", "-tr", "T", "-p", "P", "-f", "0", "1", "-chk", "C"),
        *("-device", "cpu", "-step_size", "0.5", "--disable_tta", "-prev_stage_predictions", "Z", "-np", "2"),
        *("--save_probabilities", "--continue_prediction", "-num_parts", "2", "-part_id", "1"),
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


@pytest.mark.parametrize("name", ["predict", "advise", "evaluate"])
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
