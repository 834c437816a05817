"""Imports go down only: evaluation scores any baseline without the host, networks and losses know torch alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "nnunet_missingmod"
HOST = {"nnunetv2", "batchgenerators", "batchgeneratorsv2"}
TORCH = {"torch", "dynamic_network_architectures"}

# place: (what it must not import, what of this package it may import; None for anything)
FLOOR_0 = {"nnunet_missingmod.modalities", "nnunet_missingmod._version", "nnunet_missingmod.console"}
RULES = {
    "modalities.py": (HOST | TORCH, FLOOR_0),
    "plans_block.py": (
        HOST | TORCH,
        FLOOR_0 | {"nnunet_missingmod.plans_keys", "nnunet_missingmod.method_keys"},
    ),
    "plans_keys.py": (HOST | TORCH, FLOOR_0),
    "method_keys.py": (HOST | TORCH, FLOOR_0 | {"nnunet_missingmod.plans_keys"}),
    "trainer_list.py": (HOST | TORCH | {"numpy"}, FLOOR_0 | {"nnunet_missingmod.host"}),
    "console.py": (HOST | TORCH, FLOOR_0),
    "host.py": (HOST | TORCH | {"numpy"}, FLOOR_0),
    "cli.py": (HOST | TORCH | {"numpy"}, FLOOR_0 | {"nnunet_missingmod.__version__"}),
    "absence.py": (HOST | {"dynamic_network_architectures"}, FLOOR_0),
    "preprocessing/case_files.py": (HOST | TORCH, FLOOR_0),
    "preprocessing/file_integrity.py": (HOST | TORCH, FLOOR_0),
    "preprocessing/geometry.py": (HOST | TORCH, FLOOR_0),
    "preprocessing/label_file.py": (HOST | TORCH, FLOOR_0 | {"nnunet_missingmod.preprocessing"}),
    "inference/case_status.py": (HOST | TORCH | {"numpy"}, FLOOR_0),
    "inference/preflight.py": (HOST | TORCH, FLOOR_0 | {"nnunet_missingmod.preprocessing"}),
    "inference/all_subsets.py": (HOST, None),
    "inference/shared_decoding.py": (HOST, None),
    "inference/subset_choice.py": (HOST | TORCH | {"numpy"}, FLOOR_0),
    "inference/evaluate_store.py": (HOST | TORCH, FLOOR_0 | {"nnunet_missingmod.evaluation"}),
    "evaluation": (HOST | TORCH, FLOOR_0 | {"nnunet_missingmod.evaluation"}),
    "datasets": (HOST | TORCH, None),
    "demo": (HOST | TORCH, None),
    "networks": (HOST, FLOOR_0 | {"nnunet_missingmod.absence", "nnunet_missingmod.networks"}),
    "losses": (HOST, FLOOR_0 | {"nnunet_missingmod.losses"}),
    "training/modality_dropout.py": (HOST, None),
    "training/validation_subsets.py": (HOST, None),
    "training/incomplete.py": (HOST, None),
    "training/step.py": (HOST, None),
    "training/subset_objective.py": (HOST, None),
    "training/method_choices.py": (HOST | TORCH, FLOOR_0),
    "training/teacher_folder.py": (HOST | TORCH, FLOOR_0),
}


def imported_modules(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            assert node.module is not None
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files_of(place: str) -> list[Path]:
    path = PACKAGE / place
    return [path] if path.suffix else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("place", RULES)
def test_imports_go_down_only(place):
    forbidden, allowed = RULES[place]
    assert files_of(place), f"{place} is gone: mend the rule"
    for file in files_of(place):
        for module in imported_modules(file):
            assert module.split(".")[0] not in forbidden, f"{file.name} imports {module}"
            if allowed is not None and module.startswith("nnunet_missingmod."):
                parents = {module.rsplit(".", cut)[0] for cut in range(module.count("."))} | {module}
                assert parents & allowed, f"{file.name} imports {module}"


def test_no_module_is_named_after_nothing():
    vague = {"utils", "helpers", "common", "misc", "util", "helper"}
    assert not [file for file in PACKAGE.rglob("*") if file.stem in vague]


def test_files_stay_short():
    long = {
        str(file.relative_to(PACKAGE)): lines
        for file in PACKAGE.rglob("*.py")
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 260
    }
    assert not long
