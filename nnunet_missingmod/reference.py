"""What documents and ``info`` say of trainers and choices, made from ``choices`` and from the menu's source.

Documents hold these tables between ``<!-- table: NAME -->`` and ``<!-- end of table -->``. ``docs/update_tables.py``
writes them anew, and a test proves that they are up to date. Nothing here imports torch or nnU-Net.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from nnunet_missingmod.choices import FILE_KEYS, MASKING_KEYS, METHOD_KEYS, TRAINERS, TRAINING_KEYS
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.keys import Key

_TABLE = re.compile(r"(<!-- table: (?P<name>[^>]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


class TrainerEntry(NamedTuple):
    """A trainer as its source says.

    Attributes:
        group: the title under which it is listed.
        line: the first line of its docstring.
        like: the trainer of the menu that it is derived from, or None.
        sets: the choices that its class body sets.
    """

    name: str
    group: str
    line: str
    like: str | None
    sets: Mapping[str, Any]


def trainer_entries() -> list[TrainerEntry]:
    """Return the trainers in the order in which they are listed."""
    entries = []
    for group, (_, names) in TRAINERS.items():
        for name in names:
            definition = _class_definition(CLASS_TABLE[name], name)
            bases = [base.id for base in definition.bases if isinstance(base, ast.Name)]
            sets = {
                node.targets[0].id: ast.literal_eval(node.value)
                for node in definition.body
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            }
            line = (ast.get_docstring(definition) or "").split("\n")[0]
            like = next((base for base in bases if base in CLASS_TABLE), None)
            entries.append(TrainerEntry(name, group, line, like, sets))
    return entries


def describe_trainers() -> dict[str, str]:
    """Return {trainer: first line of its docstring}, in the order in which trainers are listed."""
    return {entry.name: entry.line for entry in trainer_entries()}


def describe_choices() -> list[dict[str, Any]]:
    """Return a dict for each key of the ``"missingmod"`` block: name, default, allowed, values, meaning, used by."""
    return [
        {
            "name": key.name,
            "default": key.default,
            "allowed": key.allowed,
            "values": list(key.range.values),
            "meaning": key.meaning,
            "used_by": used_by,
        }
        for keys, used_by in (
            ((*TRAINING_KEYS, *FILE_KEYS), "all trainers"),
            (METHOD_KEYS, "method trainers"),
            (MASKING_KEYS, "masked pretraining"),
        )
        for key in keys
    ]


def keys_table(keys: Sequence[Key]) -> str:
    """Return keys as a Markdown table: key, default, allowed, meaning."""
    lines = ["| key | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for key in keys:
        default = "nnU-Net's" if key.default is None else json.dumps(key.default)
        allowed = re.sub(r'"([^"]+)"', r"`\1`", key.allowed)
        lines.append(f"| `{key.name}` | {default} | {allowed} | {key.meaning} |")
    return "".join(f"{line}\n" for line in lines)


def trainers_table(group: str) -> str:
    """Return the trainers of a group as a Markdown table: trainer, what it does, what it sets."""
    lines = ["| trainer | what it does | what it sets |", "| --- | --- | --- |"]
    for entry in trainer_entries():
        if entry.group != group:
            continue
        settings = ", ".join(f"`{name}` {json.dumps(value)}" for name, value in entry.sets.items())
        like = f"as `{entry.like}`, and " if entry.like else ""
        lines.append(f"| `{entry.name}` | {entry.line} | {like}{settings} |")
    return "".join(f"{line}\n" for line in lines)


def fill_tables(text: str) -> str:
    """Return a document with its tables made anew.

    Raises:
        ValueError: there is no table of a name in it.
    """
    makers: dict[str, Callable[[], str]] = {
        "keys of every trainer": partial(keys_table, (*TRAINING_KEYS, *FILE_KEYS)),
        "keys of method trainers": partial(keys_table, METHOD_KEYS),
        "keys of masked pretraining": partial(keys_table, MASKING_KEYS),
        **{f"trainers, {group}": partial(trainers_table, group) for group in TRAINERS},
    }

    def made(match: re.Match[str]) -> str:
        if match["name"] not in makers:
            raise ValueError(f"There is no table {match['name']!r}; there are {', '.join(makers)}.")
        return f"{match[1]}\n{makers[match['name']]()}\n{match[3]}"

    return _TABLE.sub(made, text)


@lru_cache
def _parsed(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _class_definition(module: str, name: str) -> ast.ClassDef:
    (definition,) = (node for node in _parsed(module).body if isinstance(node, ast.ClassDef) and node.name == name)
    return definition
