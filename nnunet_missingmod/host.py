"""How nnU-Net finds this package's classes: a small bridge file in the folders in which it looks for classes by name.

Its module-level ``__getattr__`` answers from ``CLASS_TABLE`` and imports only on a hit. It gets there in three ways:

- the variable ``nnUNet_extTrainer`` names the bridge's folder in this package. nnU-Net looks there for trainers, which
  bring the preprocessor (``preprocessing.configuration``); nothing is written anywhere;
- ``attach`` copies the bridge into three folders of nnU-Net's own package, so that nnU-Net's planning commands find the
  planners, too; ``detach`` removes the copies. Nothing else of the host is touched;
- ``planning.in_memory`` puts it into modules of its process alone, for ``nnunet_missingmod plan`` and ``preprocess``.

Standard library only: the bridge imports this module each time nnU-Net looks for any class.
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
VARIABLE = "nnUNet_extTrainer"
"""Names folders in which nnU-Net looks for trainers that it has not itself, separated as in ``PATH``."""
BRIDGE_NAME = "missingmod_bridge.py"
EXTERNAL_FOLDER = Path(__file__).parent / "external"
SCANNED_FOLDERS = ("training/nnUNetTrainer", "experiment_planning", "preprocessing")
PREPROCESSOR, HOST_PREPROCESSOR = "MissingModPreprocessor", "DefaultPreprocessor"

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
    PREPROCESSOR: "nnunet_missingmod.preprocessing.preprocessor",
    **{name: f"nnunet_missingmod.plans.{name}" for name in _PLANNING},
    **{name: f"nnunet_missingmod.{module.format(name=name)}" for module, names in TRAINERS.values() for name in names},
}


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


def bridge() -> str:
    """Return the bridge's code."""
    return (EXTERNAL_FOLDER / BRIDGE_NAME).read_text(encoding="utf-8")


def external_folders() -> list[Path]:
    """Return the folders that the variable names."""
    return [Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder.strip()]


def is_external() -> bool:
    """Return whether a folder that the variable names holds the bridge."""
    return any(_is_bridge(folder / BRIDGE_NAME) for folder in external_folders())


def external_value() -> str:
    """Return what the variable has to be: the bridge's folder, then the folders of others that it names already."""
    others = [
        folder
        for folder in external_folders()
        if folder.is_dir() and not holds_trainers(folder) and not _is_bridge(folder / BRIDGE_NAME)
    ]
    # Ours first: nnU-Net stops at the first folder with a module that cannot be imported.
    return os.pathsep.join(map(str, [EXTERNAL_FOLDER, *others]))


def holds_trainers(folder: Path) -> bool:
    """Return whether a folder is this package's ``trainers``: classes that nnU-Net finds there cannot be pickled.

    Another plugin may have a file of the same name.
    """
    try:
        return "nnunet_missingmod" in (folder / "nnUNetTrainerModalityDropout.py").read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return False


def is_found() -> bool:
    """Return whether nnU-Net's commands find this package's trainers.

    Raises:
        HostError: nnU-Net is not installed.
    """
    return is_external() or not unattached()


def bridge_files() -> list[Path]:
    """Return where the bridge files belong if nnU-Net is attached."""
    return [host_folder() / folder / BRIDGE_NAME for folder in SCANNED_FOLDERS]


def unattached() -> list[Path]:
    """Return the bridge files that are missing or not this version's; empty if attached."""
    return [file for file in bridge_files() if not _is_bridge(file)]


def attach() -> list[Path]:
    """Write the bridge files that are missing or differ, and return them.

    Raises:
        HostError: nnU-Net is not installed, or its folders cannot be written to.
    """
    written = unattached()
    for file in written:
        try:
            _write_atomically(file, bridge())
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
    return (
        f"Cannot write into {folder}: {error}. Nothing need be written there: {export_line()}. "
        "Or run nnunet_missingmod attach once with the rights of the folder's owner."
    )


def export_line() -> str:
    """Return the shell's line that sets the variable."""
    return f'export {VARIABLE}="{external_value()}"'


def _is_bridge(file: Path) -> bool:
    try:
        return file.read_text(encoding="utf-8") == bridge()
    except (OSError, UnicodeError):
        return False


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
