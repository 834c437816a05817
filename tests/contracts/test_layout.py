"""The tree: tests mirror it, the package list is complete, names that land in users' files are frozen."""

from __future__ import annotations

import ast
import configparser
from pathlib import Path

import pytest

from nnunet_missingmod import cli, host

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nnunet_missingmod"


def test_every_module_has_tests_in_the_same_place():
    without = []
    for file in PACKAGE.rglob("*.py"):
        folder = ROOT / "tests" / file.relative_to(PACKAGE).parent
        if file.name.startswith("_") or (folder / f"test_{file.name}").exists():
            continue
        if not list(folder.glob(f"test_{file.stem}_*.py")):
            without.append(str(file.relative_to(PACKAGE)))
    assert not without


def test_package_list_is_complete():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert listed == found | {f"nnunet_missingmod.{menu}" for menu in ("trainers", "trainers.families", "plans")}


@pytest.mark.parametrize("menu", ["trainers", "plans"])
def test_the_class_table_and_the_folders_of_the_menu_agree(menu):
    defined = {}
    for file in (ROOT / menu).rglob("*.py"):
        module = ".".join(["nnunet_missingmod", *file.relative_to(ROOT).with_suffix("").parts])
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                defined[node.name] = module
                assert file.stem in (node.name, "ablations"), "a file of the menu is called as its class"
    assert defined == {name: module for name, module in host.CLASS_TABLE.items() if f".{menu}." in module}


def test_every_command_has_its_functions():
    from importlib import import_module

    for module_name, prefix, _ in cli.COMMANDS.values():
        module = import_module(f"nnunet_missingmod.{module_name}")
        named = f"_{prefix}" if prefix else ""
        assert callable(getattr(module, f"add{named}_arguments"))
        assert callable(getattr(module, f"run{named}"))
