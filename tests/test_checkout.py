"""Python started in a checkout imports its source folder: the menu is found there too, and only there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# As after `pip install .`: nothing but the folder that Python was started in leads to the checkout.
_WITHOUT_EDITABLE = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if not finder.__module__.startswith("__editable__")]
sys.path = ["", *(folder for folder in sys.path[1:] if "__editable__" not in folder)]
"""


def run(code, cwd):
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_EDITABLE + code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("menu", ["trainers", "plans"])
def test_the_menu_of_a_checkout_is_found(menu):
    said = run(f"import nnunet_missingmod.{menu} as menu; print(menu.__file__)", ROOT)
    assert [Path(file).resolve() for file in said] == [(ROOT / menu / "__init__.py").resolve()]


def test_the_commands_of_a_checkout_work():
    said = run("from nnunet_missingmod.cli import main; main(['trainers'])", ROOT)
    assert said[0] == "Baselines"
    assert said[1].startswith("  nnUNetTrainerZeroFill ")


def lay_out(folder, *menus):
    package = folder / "nnunet_missingmod"
    package.mkdir(parents=True)
    for name in ("__init__.py", "_version.py"):
        shutil.copy(ROOT / "nnunet_missingmod" / name, package)
    for menu in menus:
        (folder / menu).mkdir()
        (folder / menu / "__init__.py").touch()
    return run("import nnunet_missingmod as package; print(*package.__path__, sep='\\n')", folder)


def test_an_installed_package_does_not_look_beside_itself(tmp_path):
    inside = ("nnunet_missingmod/trainers", "nnunet_missingmod/plans")
    assert lay_out(tmp_path / "installed", *inside) == [str(tmp_path / "installed" / "nnunet_missingmod")]
    # Another package's folders of these names may lie in site-packages.
    crowded = lay_out(tmp_path / "crowded", *inside, "trainers", "plans")
    assert crowded == [str(tmp_path / "crowded" / "nnunet_missingmod")]
    assert lay_out(tmp_path / "half", "trainers") == [str(tmp_path / "half" / "nnunet_missingmod")]


def test_a_checkout_looks_in_its_root(tmp_path):
    root = tmp_path / "checkout"
    assert lay_out(root, "trainers", "plans") == [str(root / "nnunet_missingmod"), str(root)]
