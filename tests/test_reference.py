"""Documented tables are those that the code makes; what they say of a trainer is what its class says."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from nnunet_missingmod.choices import KEYS, TRAINERS
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.reference import describe_choices, fill_tables, trainer_entries

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "plans/README.md", *sorted((ROOT / "docs").glob("*.md"))]
ENTRIES = {entry.name: entry for entry in trainer_entries()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_of_the_documents_are_up_to_date(document):
    text = document.read_text(encoding="utf-8")
    assert fill_tables(text) == text, "run: python docs/update_tables.py"


def test_every_table_that_is_made_stands_in_a_document():
    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    expected = {"keys of every trainer", "keys of method trainers", "keys of masked pretraining"}
    expected |= {*(f"trainers, {group}" for group in TRAINERS)}
    assert all(f"<!-- table: {name} -->" in text for name in expected)


def test_a_stale_table_is_made_anew_and_an_unknown_one_refused():
    stale = "a\n<!-- table: trainers, Baselines -->\nold\n<!-- end of table -->\nb"
    made = fill_tables(stale)
    assert made.startswith("a\n")
    assert made.endswith("\nb")
    assert "old" not in made
    assert "nnUNetTrainerZeroFill" in made
    with pytest.raises(ValueError, match="no table 'others'"):
        fill_tables("<!-- table: others -->\n<!-- end of table -->")


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_what_the_class_says(name):
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    entry = ENTRIES[name]
    assert entry.line.endswith(".")
    assert kind.__dict__["__doc__"].split("\n")[0] == entry.line
    keys = {key.name for key in KEYS}
    assert dict(entry.sets) == {key: value for key, value in vars(kind).items() if key in keys}
    assert entry.like is None or entry.like in [base.__name__ for base in kind.__bases__]


def test_choices_are_described_for_scripts():
    described = {each["name"]: each for each in describe_choices()}
    assert list(described) == [key.name for key in KEYS]
    assert described["fused_at"]["values"] == ["logits", "features"]
    assert described["modality_dropout"]["used_by"] == "all trainers"


def test_neither_torch_nor_the_host_is_imported_for_it():
    code = (
        "import sys; from nnunet_missingmod.reference import trainer_entries; trainer_entries();"
        "assert not {'torch', 'numpy', 'nnunetv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
