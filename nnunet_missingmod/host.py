"""How nnU-Net finds this package's classes: a small bridge file in each folder that it scans.

nnU-Net looks classes up by name in the modules of three folders of its own package, in spawned workers too. ``attach``
writes one identical file into each; its module-level ``__getattr__`` answers from ``CLASS_TABLE`` and imports only on a
hit. Nothing else of the host is touched, and ``detach`` removes the files. Standard library only: the bridge imports
this module each time nnU-Net looks for any class.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

from nnunet_missingmod.choices import TRAINERS
from nnunet_missingmod.errors import FailedError

HOST = "nnunetv2"
BRIDGE_NAME = "missingmod_bridge.py"
SCANNED_FOLDERS = ("training/nnUNetTrainer", "experiment_planning", "preprocessing")

# What follows -fpe and -pl.
_PLANNING = (
    "MissingModFingerprintExtractor",
    "MissingModPlanner",
    "MissingModPlannerResEncM",
    "MissingModPlannerResEncL",
    "MissingModPlannerResEncXL",
    "MissingModPlannerRDL",
)
CLASS_TABLE = {
    "MissingModPreprocessor": "nnunet_missingmod.preprocessing.preprocessor",
    **{name: f"nnunet_missingmod.plans.{name}" for name in _PLANNING},
    **{name: f"nnunet_missingmod.{module.format(name=name)}" for module, names in TRAINERS.values() for name in names},
}

BRIDGE = '''\
"""Lets nnU-Net find the classes of nnunet_missingmod. Written by `nnunet_missingmod attach`, removed by `detach`."""


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        from nnunet_missingmod.host import CLASS_TABLE
    except Exception:  # uninstalled or broken: nnU-Net goes on as if this file were not here
        raise AttributeError(name) from None
    if name not in CLASS_TABLE:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(CLASS_TABLE[name]), name)
'''


class HostError(FailedError):
    """nnU-Net is not there or cannot be written to; the message says what to do."""


def host_folder() -> Path:
    """Return the folder of the nnunetv2 that this Python would import, without importing it.

    Raises:
        HostError: there is none, or what Python takes for it is a remainder.
    """
    spec = importlib.util.find_spec(HOST)
    if spec is None or not spec.submodule_search_locations:
        raise HostError(f"{HOST} is not installed for {sys.executable}. Run: {sys.executable} -m pip install {HOST}")
    folder = Path(next(iter(spec.submodule_search_locations)))
    if spec.origin is None:
        # Uninstalling keeps the folders that hold our bridges; without an __init__.py they hide an editable nnunetv2.
        raise HostError(
            f"{folder} is what an uninstalled {HOST} has left behind, and hides any other. Delete it first."
        )
    return folder


def bridge_files() -> list[Path]:
    """Return where the bridge files belong."""
    return [host_folder() / folder / BRIDGE_NAME for folder in SCANNED_FOLDERS]


def unattached() -> list[Path]:
    """Return the bridge files that are missing or not this version's; empty if attached."""
    return [file for file in bridge_files() if not file.is_file() or file.read_text(encoding="utf-8") != BRIDGE]


def attach() -> list[Path]:
    """Write the bridge files that are missing or differ, and return them.

    Raises:
        HostError: nnU-Net is not installed, or its folders cannot be written to.
    """
    written = unattached()
    for file in written:
        try:
            _write_atomically(file, BRIDGE)
        except OSError as error:
            raise HostError(read_only_message(file.parent, error)) from error
    return written


def detach() -> list[Path]:
    """Remove the bridge files and what Python compiled from them, and return the files removed.

    Raises:
        HostError: nnU-Net is not installed, or its folders cannot be written to.
    """
    removed = []
    for file in bridge_files():
        compiled = file.parent / "__pycache__"
        for found in [file, *compiled.glob(f"{file.stem}.*.pyc")]:
            try:
                if found.exists():
                    found.unlink()
                    removed.append(found)
            except OSError as error:
                raise HostError(f"Cannot remove {found}: {error}. Remove it with the rights of its owner.") from error
    return removed


def read_only_message(folder: Path, error: OSError) -> str:
    """Return what to do where nnU-Net's folders cannot be written to."""
    menu = importlib.util.find_spec("nnunet_missingmod.trainers")
    trainers = Path(menu.origin).parent if menu is not None and menu.origin else "the trainers folder of this package"
    return (
        f"Cannot write into {folder}: {error}. Either run this once with the rights of the folder's owner; or put a "
        f"writable nnunetv2 before the read-only one: {sys.executable} -m venv --system-site-packages ENV && "
        f"ENV/bin/pip install --no-deps --ignore-installed {HOST}=={_host_version()} nnunet_missingmod && "
        f"ENV/bin/nnunet_missingmod attach; or, for training only, export nnUNet_extTrainer={trainers}"
    )


def _host_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(HOST)
    except PackageNotFoundError:
        return "2.8.1"


def _write_atomically(file: Path, text: str) -> None:
    # Workers of a running nnU-Net may be scanning the folder: they must see the whole file or none.
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".missingmod_", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
