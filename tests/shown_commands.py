"""The commands that README and docs show, found in their code blocks, and the parsers that would read them."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from unittest.mock import patch

from nnunet_missingmod import host
from nnunet_missingmod.cli import COMMANDS, make_parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "plans/README.md", *sorted((ROOT / "docs").glob("*.md"))]

OURS, HOSTS, PYTHON = "nnunet_missingmod", "nnUNetv2_", "python"
# Commands of nnU-Net that two of ours pass their options on to.
PASSED_ON = {"plan": "nnUNetv2_plan_and_preprocess", "preprocess": "nnUNetv2_preprocess"}

# What a scheduler or a loop puts in the place of these, one of the values that they have.
_VARIABLES = {"SLURM_ARRAY_TASK_ID": "1"}
_BLOCK = re.compile(r"^( *)```bash\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_INSIDE = re.compile(r"\$\(([^()]*)\)")
_SEPARATORS = {"&", "&&", "||", "|", ";", "do", "then"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


def blocks_of(document: Path) -> list[str]:
    """Return the shell blocks of a document."""
    return [re.sub(f"^{found[1]}", "", found[2], flags=re.MULTILINE) for found in _BLOCK.finditer(_text(document))]


def commands_of(document: Path) -> Iterator[list[str]]:
    """Yield each command of the shell blocks as its words, without variables set for it alone."""
    for block in blocks_of(document):
        yield from _commands_in(block)


def shown_programs(document: Path) -> list[list[str]]:
    """Return the commands of this package, nnU-Net's, and those of Python."""
    return [words for words in commands_of(document) if words[0] in (OURS, PYTHON) or words[0].startswith(HOSTS)]


def inline_commands(document: Path) -> Iterator[list[str]]:
    """Yield what begins as a command of ours or of Python between backticks in running text; it may be incomplete."""
    text = re.sub(r"```.*?```", "", _text(document), flags=re.DOTALL)
    for found in re.findall(rf"`((?:{OURS}|{PYTHON}) [^`]+)`", text):
        yield shlex.split(found.replace("\n", " "))


def read_by_parser(words: Sequence[str]) -> Any:
    """Return what the program's own parser makes of a command.

    Raises:
        SystemExit: the parser refuses it.
        LookupError: there is no such program or command.
    """
    program, *rest = words
    if program.startswith(HOSTS):
        return _by_host(program, rest)
    if program == PYTHON:
        return _by_script(rest)
    if rest[0] not in COMMANDS:
        raise LookupError(f"no command {rest[0]}")
    parsed = make_parser(rest[0]).parse_args(rest[1:])
    return _by_host(PASSED_ON[rest[0]], parsed.others) if rest[0] in PASSED_ON else parsed


def _text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def _commands_in(block: str) -> Iterator[list[str]]:
    for line in block.replace("\\\n", " ").splitlines():
        expanded = re.sub(r"\$\{?(\w+)\}?", lambda name: _VARIABLES.get(name[1], name[0]), line)
        for inner in _INSIDE.findall(expanded):
            yield from _commands_in(inner)
        lexer = shlex.shlex(_INSIDE.sub("VALUE", expanded), posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word not in _SEPARATORS:
                if command or not _ASSIGNMENT.match(word):
                    command.append(word)
            elif command:
                yield command
                command = []


class _ReadError(Exception):
    """Ends a program as soon as its parser has read the command."""


@contextmanager
def _ends_when_read() -> Iterator[list[Any]]:
    """Inside, programs end when their own parser has read the command; it takes no abbreviation or unknown option."""
    read: list[Any] = []
    parse = ArgumentParser.parse_known_args

    def parse_and_end(parser: Any, args: Any = None, namespace: Any = None) -> Any:
        with patch.object(ArgumentParser, "parse_known_args", parse):  # subcommands have parsers too
            parser.allow_abbrev = False
            known, unknown = parse(parser, args, namespace)
        if unknown:
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        read.append(known)
        raise _ReadError

    with patch.object(ArgumentParser, "parse_known_args", parse_and_end):
        yield read


def _run_until_read(words: Sequence[str], run: Callable[[], object]) -> Any:
    with (
        _ends_when_read() as read,
        patch.object(sys, "argv", list(words)),
        patch.object(sys, "path", list(sys.path)),
        patch.dict(os.environ),
    ):
        try:
            run()
        except _ReadError:
            return read[0]
    raise LookupError(f"{words[0]} read no command line")


def _by_host(program: str, words: Sequence[str]) -> Any:
    found = [each for each in entry_points(group="console_scripts", name=program) if each.value.startswith(host.HOST)]
    if not found:
        raise LookupError(f"nnU-Net has no command {program}")
    return _run_until_read([program, *words], found[0].load())


def _by_script(words: Sequence[str]) -> Any:
    if words[0].startswith("-"):
        return None  # an option of Python's own
    script = ROOT / words[0]
    if not script.is_file():
        raise LookupError(f"{words[0]} is not there")
    if "parser" not in script.read_text(encoding="utf-8"):
        if words[1:]:
            raise LookupError(f"{words[0]} takes no arguments")
        return None
    arguments = [str(script), *words[1:]]
    modules = set(sys.modules)
    try:
        with patch.object(sys, "path", [str(script.parent), *sys.path]):
            return _run_until_read(arguments, lambda: runpy.run_path(str(script), run_name="__main__"))
    finally:
        # Names of modules beside a script, such as "settings", are no names of other tests' modules.
        for name in set(sys.modules) - modules:
            if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(ROOT / "benchmarks"):
                del sys.modules[name]
