"""What is installed, from the sources or the sdist: the package with its data, and nothing under the host's name."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKEND = "setuptools>=77"  # as in pyproject.toml
LEFT_OUT = (".*", "*.egg-info", "__pycache__", "build", "dist", "runs", "logs", "site", "nnunet_missingmod_demo")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Distributions:
    """The files of what was built, without folders; those of the sdist below its top folder."""

    wheel: set[str]
    sdist: set[str]
    wheel_of_the_sdist: set[str]


def backend_environment(folder: Path) -> dict[str, str]:
    """Return an environment that has the build backend, which is not everywhere installed as new as that."""
    with contextlib.suppress(PackageNotFoundError):
        if int(version("setuptools").split(".")[0]) >= int(BACKEND.split(">=")[1]):
            return dict(os.environ)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), BACKEND]
    subprocess.run(pip, check=True)
    return {**os.environ, "PYTHONPATH": str(folder)}


def build(kind: str, sources: Path, output: Path, environment: dict[str, str]) -> Path:
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(output)],
        cwd=sources,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output / done.stdout.splitlines()[-1]


def files_of_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    work = tmp_path_factory.mktemp("distributions")
    environment = backend_environment(work / "backend")
    sources, unpacked = work / "sources", work / "unpacked"
    # A copy, because setuptools leaves a build folder beside what it builds.
    shutil.copytree(ROOT, sources, ignore=shutil.ignore_patterns(*LEFT_OUT))
    sdist = build("sdist", sources, work, environment)
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (top,) = unpacked.iterdir()
    of_the_sdist = {file.relative_to(top).as_posix() for file in top.rglob("*") if file.is_file()}
    for name in ("from_tree", "from_sdist"):
        (work / name).mkdir()
    return Distributions(
        wheel=files_of_wheel(build("wheel", sources, work / "from_tree", environment)),
        sdist=of_the_sdist,
        wheel_of_the_sdist=files_of_wheel(build("wheel", top, work / "from_sdist", environment)),
    )


def sources_of(folder: str) -> set[str]:
    """Every file below a folder of the repository, as a path from the root."""
    files = (file for file in (ROOT / folder).rglob("*") if file.is_file() and file.suffix not in (".pyc", ".pyo"))
    return {file.relative_to(ROOT).as_posix() for file in files}


def test_wheel_holds_the_package_with_its_data_and_nothing_of_the_host(distributions):
    tops = {name.split("/")[0] for name in distributions.wheel}
    assert {top.split("-")[0] for top in tops} == {"nnunet_missingmod"}
    menu = {f"nnunet_missingmod/{file}" for folder in ("trainers", "plans") for file in sources_of(folder)}
    installed = {name for name in distributions.wheel if ".dist-info/" not in name}
    assert installed == sources_of("nnunet_missingmod") | menu


def test_sdist_holds_the_menu_the_tests_and_the_documents(distributions):
    expected = {file for folder in ("nnunet_missingmod", "trainers", "plans", "tests") for file in sources_of(folder)}
    expected |= {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "mkdocs.yml", "docs/hooks.py"}
    assert expected - distributions.sdist == set()
    assert not [name for name in distributions.sdist if name.endswith(".pyc")]


def test_wheel_of_the_sdist_is_the_wheel_of_the_sources(distributions):
    assert distributions.wheel_of_the_sdist == distributions.wheel
