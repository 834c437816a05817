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

from nnunet_missingmod.choices import (
    CONVENTIONAL_TEACHER,
    FILE_KEYS,
    KEYS,
    MASKING_KEYS,
    METHOD_KEYS,
    TERMS,
    TRAINERS,
    TRAINING_KEYS,
)
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.keys import Key

_DEFAULTS = {key.name: key.default for key in KEYS}
_TABLE = re.compile(r"(<!-- table: (?P<name>[^>]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


class TrainerEntry(NamedTuple):
    """A trainer as its source says.

    Attributes:
        group: the title under which it is listed.
        line: the first line of its docstring.
        like: the trainer of the menu that it is derived from, or None.
        sets: the choices that its class body sets.
        cost: what a training step takes in relation to stock nnU-Net's, in words.
    """

    name: str
    group: str
    line: str
    like: str | None
    sets: Mapping[str, Any]
    cost: str


# Up to so many times the multiplications of stock nnU-Net's step.
_CLASSES = ((0.9, "below stock"), (1.2, "as stock"), (1.6, "1.4 x stock"), (2.6, "2 x stock"), (3.6, "3 x stock"))
_DEAREST = "4 x stock or more"
# Of J = 4 modalities on nnU-Net's plan for BraTS, where a decoder is 70 % of the network; a test counts the same.
_ENCODERS = {"shared": 1.85, "separate": 1.85, "slim": 0.78, "shared_specific": 3.0}
_FUSIONS = {"gated": 0.11, "region_aware": 0.5}
_AUXILIARY = {"unimodal": 2.8, "unimodal_low": 1.3}


def step_cost(choices: Mapping[str, Any]) -> str:
    """Return what a training step takes in relation to stock nnU-Net's, in words.

    A teacher adds a third of its own prediction: a forward pass without a backward one.

    Args:
        choices: a value for each key; those of trainers that have no such key are as by default.
    """
    times = _prediction_cost(choices)
    if choices["network"] == "modality_encoders":
        times += _AUXILIARY.get(choices["auxiliary"], 0.0) / (16 if choices["encoders"] == "slim" else 1)
        times += 2.8 * choices["image_reconstruction"]
    if choices["gradient_surgery"] == "parameters":
        times *= 10
    times *= 2 if choices["partner"] else 1
    if any(term.is_on(choices) and term.has_teacher(choices) for term in TERMS):
        times += choices["taught_share"] * _prediction_cost(_of_teacher(choices)) / 3
    return next((words for most, words in _CLASSES if times <= most), _DEAREST)


def _prediction_cost(choices: Mapping[str, Any]) -> float:
    """Return the multiplications of a forward pass of all modalities in relation to stock nnU-Net's, roughly."""
    if choices["network"] == "modality_encoders":
        return _ENCODERS[choices["encoders"]] + _FUSIONS.get(choices["feature_fusion"], 0.0)
    if choices["network"] == "parallel":
        return 3.95 if choices["fused_at"] == "logits" else _ENCODERS["shared"]
    return 1.0


def _of_teacher(choices: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the choices of the teacher that ``choices`` name: a path and trainers of others count as stock nnU-Net."""
    teacher = choices["teacher"]
    if teacher == "average":
        return choices
    teacher = CONVENTIONAL_TEACHER if teacher == "auto" else teacher
    return _chosen(teacher) if teacher in CLASS_TABLE else {**_DEFAULTS, "network": "stock"}


def trainer_entries() -> list[TrainerEntry]:
    """Return the trainers in the order in which they are listed."""
    entries = []
    for group, (_, names) in TRAINERS.items():
        for name in names:
            definition = _class_definition(CLASS_TABLE[name], name)
            line = (ast.get_docstring(definition) or "").split("\n")[0]
            like, sets = _like_and_sets(definition)
            entries.append(TrainerEntry(name, group, line, like, sets, step_cost(_chosen(name))))
    return entries


def _like_and_sets(definition: ast.ClassDef) -> tuple[str | None, dict[str, Any]]:
    """Return the trainer of the menu that a class is derived from, and the choices that its body sets."""
    bases = [base.id for base in definition.bases if isinstance(base, ast.Name)]
    sets = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in definition.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    return next((base for base in bases if base in CLASS_TABLE), None), sets


def _chosen(name: str) -> dict[str, Any]:
    """Return a trainer's value for each key: its own, inherited, or the key's default."""
    like, sets = _like_and_sets(_class_definition(CLASS_TABLE[name], name))
    return {**(_chosen(like) if like else _DEFAULTS), **sets}


def grouped_trainers() -> dict[str, list[TrainerEntry]]:
    """Return the trainers by the group under which they are listed."""
    groups: dict[str, list[TrainerEntry]] = {}
    for entry in trainer_entries():
        groups.setdefault(entry.group, []).append(entry)
    return groups


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
    """Return the trainers of a group as a Markdown table: trainer, what it does, cost of a step, what it sets."""
    lines = ["| trainer | what it does | a step | what it sets |", "| --- | --- | --- | --- |"]
    for entry in trainer_entries():
        if entry.group != group:
            continue
        settings = ", ".join(f"`{name}` {json.dumps(value)}" for name, value in entry.sets.items())
        like = f"as `{entry.like}`, and " if entry.like else ""
        lines.append(f"| `{entry.name}` | {entry.line} | {entry.cost} | {like}{settings} |")
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
