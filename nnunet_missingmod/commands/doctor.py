"""``nnunet_missingmod doctor``: what is wrong with an installation, each problem with the command that mends it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nnunet_missingmod
from nnunet_missingmod import host
from nnunet_missingmod.commands.options import print_line

# nnU-Net's three folders: (variable, whether commands write there)
NNUNET_FOLDERS = (("nnUNet_raw", False), ("nnUNet_preprocessed", True), ("nnUNet_results", True))
HOST_RANGE = ">=2.8.1,<2.9"  # as in setup.cfg
_LOW_DISK_BYTES = 5 * 1024**3
_SEARCH_TIMEOUT_S = 300

_PACKAGE_FOLDER = Path(nnunet_missingmod.__file__).parent

# The first line that it prints is the folder of the package that nnU-Net's own commands and workers import.
_SEARCH = """
import os
import nnunet_missingmod
print(os.path.dirname(os.path.realpath(nnunet_missingmod.__file__)), flush=True)
import pickle
import nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class as find_class
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find_trainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from nnunet_missingmod.host import unattached
def check_ours(found, name):
    assert found is not None, f"no class {name} is found"
    assert found.__module__.startswith("nnunet_missingmod."), (
        f"the {name} that is found is not ours, but that of module {found.__module__}: rename or remove that one"
    )
find_trainer("nnUNetTrainer")
trainer = find_trainer("nnUNetTrainerModalityDropout")
check_ours(trainer, "nnUNetTrainerModalityDropout")
assert pickle.loads(pickle.dumps(trainer)) is trainer, "trainers cannot be pickled"
from nnunet_missingmod.preprocessing.configuration import bring_preprocessor
configuration = ConfigurationManager({"preprocessor_name": "MissingModPreprocessor", "architecture": {}})
bring_preprocessor(configuration)
name = pickle.loads(pickle.dumps(configuration)).preprocessor_class.__name__
assert name == "MissingModPreprocessor", name
if not unattached():
    for folder, name in (
        ("experiment_planning", "MissingModFingerprintExtractor"),
        ("experiment_planning", "MissingModPlanner"),
        ("preprocessing", "MissingModPreprocessor"),
    ):
        check_ours(find_class(os.path.join(nnunetv2.__path__[0], folder), name, f"nnunetv2.{folder}"), name)
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was found, and for a problem the command or step that mends it."""

    text: str
    fix: str | None = None


def check_versions() -> Iterator[Finding]:
    """Python, this package, and the packages whose versions matter."""
    yield Finding(f"Python {platform.python_version()} at {sys.executable}")
    yield Finding(f"nnunet_missingmod {nnunet_missingmod.__version__} at {_PACKAGE_FOLDER}")
    for package in ("nnunetv2", "torch", "torchvision"):
        try:
            found = version(package)
        except PackageNotFoundError:
            yield Finding(f"{package} is not installed", f"{sys.executable} -m pip install {package}")
            continue
        if package == "nnunetv2" and not _in_host_range(found):
            yield Finding(
                f"nnunetv2 {found} is outside the supported range",
                f'{sys.executable} -m pip install "nnunetv2{HOST_RANGE}"',
            )
        else:
            yield Finding(f"{package} {found}")


def check_mode() -> Iterator[Finding]:
    """Where nnU-Net is, and in which way it is to find this package."""
    try:
        folder = host.host_folder()
        missing = host.unattached()
    except host.HostError as error:
        yield Finding(str(error), f"{sys.executable} -m pip install nnunetv2")
        return
    yield Finding(f"nnunetv2 is at {folder}")
    if not missing:
        yield Finding("attached: all of nnU-Net's commands find this package by files in nnunetv2")
    elif host.is_external():
        yield Finding(
            f"nnU-Net is to find this package's trainers through {host.VARIABLE}; nothing is written into nnunetv2. "
            "nnunet_missingmod plan and preprocess are for training cases that lack files"
        )
    else:
        partly = len(missing) < len(host.SCANNED_FOLDERS)
        attach = "run nnunet_missingmod attach again, or: " if partly else ""
        yield Finding(
            "partly attached, or by another version"
            if partly
            else "nnU-Net does not find this package, which its own commands need, and predict does not",
            f"{attach}{host.export_line()}",
        )
    for named in host.external_folders():
        if not named.is_dir():
            yield Finding(f"{host.VARIABLE} names {named}, which is no folder", host.export_line())
        elif host.holds_trainers(named):
            yield Finding(
                f"{host.VARIABLE} names {named}: trainers that nnU-Net imports from there cannot be pickled",
                host.export_line(),
            )


def check_class_search() -> Iterator[Finding]:
    """Whether nnU-Net's own search finds its classes and ours, as workers can use them, in this command's package.

    It runs in a fresh process outside of any checkout, as nnU-Net's workers do: Python imports from the folder in which
    it was started before anything that is installed.
    """
    try:
        searched = _search()
    except FileNotFoundError as error:
        yield Finding(f"there is no folder for temporary files: {error}", "export TMPDIR=/a/folder/of/yours")
        return
    installed = searched.stdout.partition("\n")[0]
    if installed and Path(installed) != _PACKAGE_FOLDER.resolve():
        yield Finding(
            f"this command is of {_PACKAGE_FOLDER}, but nnU-Net's commands import the package in {installed}",
            f"start it elsewhere than in {Path.cwd()}, or let both be the same: "
            f"{sys.executable} -m pip install -e {_PACKAGE_FOLDER.parent}",
        )
    if searched.returncode == 0:
        yield Finding("nnU-Net's class search finds its own classes and ours")
        return
    reason = (searched.stderr.strip().splitlines() or ["no message"])[-1]
    if "No module named 'nnunet_missingmod'" in searched.stderr:
        fix = f"{sys.executable} -m pip install {_PACKAGE_FOLDER.parent}"
    elif "torchvision" in searched.stderr:
        fix = f"{sys.executable} -m pip install --force-reinstall torch torchvision (both from one source)"
    elif not host.is_found() or (host.unattached() and _search(host.external_value()).returncode == 0):
        fix = host.export_line()
    else:
        fix = "mend what the message names, then run: nnunet_missingmod doctor"
    yield Finding(f"nnU-Net's class search fails: {reason}", fix)


def _search(variable: str | None = None) -> subprocess.CompletedProcess[str]:
    """Search for classes in a process of its own, which is told another value of the variable if one is given."""
    environment = os.environ if variable is None else {**os.environ, host.VARIABLE: variable}
    with tempfile.TemporaryDirectory() as neutral:
        return subprocess.run(
            [sys.executable, "-c", _SEARCH],
            capture_output=True,
            text=True,
            timeout=_SEARCH_TIMEOUT_S,
            check=False,
            cwd=neutral,
            env=environment,
        )


def check_folders() -> Iterator[Finding]:
    """nnU-Net's environment variables, the folders that they name, write access and free space."""
    names = [variable for variable, _ in NNUNET_FOLDERS]
    if not any(os.environ.get(variable) for variable in names):
        yield Finding(
            f"{', '.join(names)} are not set: training and -d need them (export {names[0]}=/a/folder/of/yours), "
            "predict -m does not"
        )
        return
    for variable, is_written in NNUNET_FOLDERS:
        folder = os.environ.get(variable)
        if not folder:
            yield Finding(f"{variable} is not set", f"export {variable}=/a/folder/of/yours")
        elif not Path(folder).is_dir():
            yield Finding(f"{variable}={folder} does not exist", f"mkdir -p {folder}")
        elif is_written and not os.access(folder, os.W_OK):
            yield Finding(f"{variable}={folder} cannot be written to", f"chmod u+w {folder}, or choose another folder")
        else:
            free = shutil.disk_usage(folder).free
            space = f"{free / 1024**3:.1f} GiB free"
            if is_written and free < _LOW_DISK_BYTES:
                yield Finding(f"{variable}={folder}, only {space}", "free some space, or choose another disk")
            else:
                yield Finding(f"{variable}={folder}, {space}")


def check_device() -> Iterator[Finding]:
    """Whether a GPU is there; its absence is no problem, CPU works with ``-device cpu``."""
    try:
        import torch
    except Exception as error:  # a broken torch raises many kinds
        yield Finding(f"torch cannot be imported: {error}", f"{sys.executable} -m pip install --force-reinstall torch")
        return
    if torch.cuda.is_available():
        yield Finding(f"GPU: {torch.cuda.get_device_name()}")
    else:
        yield Finding("no CUDA GPU: give nnU-Net's commands -device cpu")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_versions,
    check_mode,
    check_class_search,
    check_folders,
    check_device,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``doctor``: there are none."""


def run(_args: argparse.Namespace) -> int:
    """Run every check; return 0 if all is well, 1 if there is a problem."""
    problems = 0
    for check in CHECKS:
        for finding in check():
            if finding.fix is None:
                print_line(f"ok       {finding.text}")
            else:
                problems += 1
                print_line(f"PROBLEM  {finding.text}")
                print_line(f"         mend it: {finding.fix}")
    print_line(f"{problems} problem{'s' * (problems != 1)} found." if problems else "All is well.")
    return 1 if problems else 0


def _in_host_range(found: str) -> bool:
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(HOST_RANGE).contains(found, prereleases=True)
    except InvalidVersion:
        return False
