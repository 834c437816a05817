"""Imports go down only, and each floor knows no more than its purpose needs; docs/design.md draws the floors."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nnunet_missingmod"

# What each place may import beside the standard library. A place may use its own modules and those of lower floors.
SCIENCE = {"numpy", "scipy", "SimpleITK", "tqdm"}
TORCH = {"torch", "dynamic_network_architectures"}
HOST = {"nnunetv2", "batchgenerators", "batchgeneratorsv2"}
FLOORS: tuple[dict[str, set[str]], ...] = (
    {"errors": set()},
    {"keys": set(), "modalities": set(), "sequence_names": set(), "storage": set(), "workers": set()},
    {"network_choices": set(), "subset_notation": set()},
    {
        "co_training_choices": set(),
        "distillation_choices": set(),
        "dropout_choices": set(),
        "prevalence": set(),
        "subset_choices": set(),
    },
    {"choices": set(), "absence": {"numpy", "torch"}},
    {"host": set(), "plans_block": set()},
    {"reference": set(), "external": set()},
    {
        "cases": SCIENCE | {"nibabel", "tifffile", "PIL", "nnunetv2.imageio", "nnunetv2.preprocessing.normalization"},
        "networks": {"numpy"} | TORCH,
        "evaluation": SCIENCE | {"jinja2", "matplotlib", "panoptica", "sklearn"},
    },
    {"losses": {"numpy"} | TORCH, "audit": {"numpy", "torch"}, "sharing": {"huggingface_hub"}},
    {"preprocessing": SCIENCE | HOST, "planning": SCIENCE | TORCH | HOST},
    {"training": SCIENCE | TORCH | HOST | {"matplotlib", "PIL", "safetensors"}},
    {"inference": SCIENCE | TORCH | HOST},
    {"benchmarking": SCIENCE | TORCH | HOST},
    {"datasets": SCIENCE, "demo": SCIENCE, "viewer": SCIENCE | {"napari", "qtpy"}},
    {"commands": {"torch", "packaging"}},
    {"cli": set()},
    {"__main__": set()},
)
# Parts of a place that know less than the place.
WITHIN = {
    "training/subsets.py": {"numpy", "torch"},
    "training/patterns.py": {"numpy", "torch"},
    "training/prevalence_file.py": set(),
    "training/step.py": {"numpy", "torch"},
    "training/teacher_folder.py": set(),
    "benchmarking/store.py": set(),
}
FLOOR = {place: number for number, floor in enumerate(FLOORS) for place in floor}
ALLOWED = {place: allowed for floor in FLOORS for place, allowed in floor.items()}


def imported_modules(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            assert node.module is not None
            if node.module == "nnunet_missingmod":
                found |= {f"nnunet_missingmod.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return found


def is_standard(module: str) -> bool:
    import sys

    return module.split(".")[0] in sys.stdlib_module_names


def foreign(file: Path, allowed: set[str]) -> list[str]:
    """The modules of other packages that a file imports and may not."""
    return sorted(
        module
        for module in imported_modules(file)
        if not is_standard(module)
        and not module.startswith("nnunet_missingmod")
        and not any(module == name or module.startswith(f"{name}.") for name in allowed)
    )


def files_of(place: str) -> list[Path]:
    path = PACKAGE / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def test_every_module_has_its_floor():
    places = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in PACKAGE.rglob("*.py")}
    assert places - {"__init__", "_version"} == set(FLOOR)


@pytest.mark.parametrize("place", FLOOR)
def test_imports_go_down_only(place):
    for file in files_of(place):
        for module in imported_modules(file):
            package, _, rest = module.partition(".")
            if package != "nnunet_missingmod" or rest in ("", "__version__", "_version"):
                continue
            other = rest.split(".")[0]
            assert other == place or FLOOR[other] < FLOOR[place], f"{file.name} imports {module}"


@pytest.mark.parametrize("place", FLOOR)
def test_a_floor_knows_what_its_purpose_needs(place):
    for file in files_of(place):
        assert not foreign(file, ALLOWED[place]), file


@pytest.mark.parametrize("name", WITHIN)
def test_parts_that_know_less(name):
    assert not foreign(PACKAGE / name, WITHIN[name])


@pytest.mark.parametrize("menu", ["trainers", "plans"])
def test_the_menu_holds_choices_and_no_machinery(menu):
    for file in (ROOT / menu).rglob("*.py"):
        own = [module for module in imported_modules(file) if module.startswith("nnunet_missingmod.")]
        assert all(module.split(".")[1] in ("training", "planning", menu) for module in own), file


def test_no_module_is_named_after_nothing():
    vague = {"utils", "helpers", "common", "misc", "util", "helper"}
    assert not [file for file in PACKAGE.rglob("*") if file.stem in vague]


def test_files_stay_short():
    long = {
        str(file.relative_to(PACKAGE)): lines
        for file in PACKAGE.rglob("*.py")
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert not long
