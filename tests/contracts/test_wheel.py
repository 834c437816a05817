"""What is installed: the package and nothing under the host's name."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_wheel_holds_the_package_with_its_data_and_nothing_of_the_host(tmp_path):
    source = tmp_path / "source"
    # A copy, because setuptools leaves a build folder beside what it builds.
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "*.egg-info", "build", "nnunet_missingmod_demo"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(source)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert all(top.startswith("nnunet_missingmod") for top in tops)
    expected = [f.relative_to(ROOT).as_posix() for f in (ROOT / "nnunet_missingmod").rglob("*.py")]
    expected += [f"nnunet_missingmod/{f.relative_to(ROOT).as_posix()}" for f in (ROOT / "trainers").glob("*.py")]
    expected += ["nnunet_missingmod/plans/README.md", "nnunet_missingmod/py.typed"]
    expected += [f.relative_to(ROOT).as_posix() for f in (ROOT / "nnunet_missingmod/demo").glob("*.npz")]
    assert set(expected) <= names
