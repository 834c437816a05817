"""The ``trainers`` command lists the whole menu, without importing torch."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from nnunet_missingmod.cli import main
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.plans_block import KEYS
from nnunet_missingmod.reference import trainer_entries

TRAINERS = {entry.name: entry.line for entry in trainer_entries()}


def test_every_trainer_of_the_class_table_is_listed_with_one_line(capsys):
    assert main(["trainers"]) == 0
    listed = capsys.readouterr().out.splitlines()
    lines = [line for line in listed if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == [name for name, module in CLASS_TABLE.items() if "trainers" in module]
    for line, entry in zip(lines, trainer_entries(), strict=True):
        assert line.endswith(f"  {entry.cost:17}  {entry.line}")
    groups = [line for line in listed if line and not line.startswith(" ")]
    assert groups == ["Baselines", "Methods", "Families", "Pretraining", "Ablations"]


@pytest.mark.parametrize("name", TRAINERS)
def test_the_line_is_the_classes_own(name):
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    assert TRAINERS[name].endswith(".")
    assert kind.__dict__["__doc__"].split("\n")[0] == TRAINERS[name]


@pytest.mark.parametrize("name", TRAINERS)
def test_the_reference_lists_it_with_its_line_and_what_it_sets(name):
    reference = (Path(__file__).parents[2] / "docs" / "trainers.md").read_text(encoding="utf-8")
    (row,) = (line for line in reference.splitlines() if line.startswith(f"| `{name}` |"))
    assert f"| {TRAINERS[name]} |" in row
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    for key in KEYS:
        if key.name in kind.__dict__:
            assert f"`{key.name}` {json.dumps(kind.__dict__[key.name])}" in row


def test_torch_is_not_imported_for_it():
    code = "import sys; from nnunet_missingmod.cli import main; main(['trainers']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
