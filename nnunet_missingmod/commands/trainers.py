"""The ``trainers`` command: what may follow -tr, read from the menu's source so that torch is not imported for it."""

from __future__ import annotations

import argparse
import ast
import importlib.util
from pathlib import Path

from nnunet_missingmod.console import say
from nnunet_missingmod.host import CLASS_TABLE


def describe_trainers() -> dict[str, str]:
    """Return {trainer: first line of its docstring}, in the order of the class table."""
    return {
        name: _first_line(module, name) for name, module in CLASS_TABLE.items() if module.split(".")[-2] == "trainers"
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``trainers``: there are none."""


def run(_args: argparse.Namespace) -> int:
    """Print each trainer and its line."""
    trainers = describe_trainers()
    width = max(map(len, trainers))
    for name, line in trainers.items():
        say(f"{name:{width}}  {line}")
    return 0


def _first_line(module: str, name: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    (definition,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return (ast.get_docstring(definition) or "").split("\n")[0]
