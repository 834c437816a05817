"""The manifest of a shared model: the name, size and SHA-256 of each of its files.

``share`` writes it; whoever loads a shared model checks every file against it first.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from nnunet_missingmod.errors import listed
from nnunet_missingmod.storage import file_fingerprint, name_problem

MANIFEST = "manifest.json"
README = "README.md"
WEIGHTS = ".safetensors"
FORMAT = "nnunet_missingmod shared model"
VERSION = 1
# A manifest is read whole before anything in it is known to be true.
MOST_BYTES = 4 * 1024**2

_REQUIRED = ("dataset.json", "plans.json")
# Endings are those of files in which no code can be executed.
_AT_THE_TOP = re.compile(r"[A-Za-z0-9_]+\.(json|md)", re.ASCII)
_OF_A_FOLD = re.compile(
    rf"(fold_(?:all|0|[1-9][0-9]{{0,3}})/[A-Za-z0-9_][A-Za-z0-9_.-]*)\.(json|{WEIGHTS[1:]})", re.ASCII
)


class SharedModelError(ValueError):
    """A shared model cannot be used: it is torn or changed, or is none. The message says what to do."""


class Member(NamedTuple):
    """A file of a shared model; ``size`` in bytes, ``sha256`` as 64 hexadecimal digits."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """The manifest of one shared model.

    Attributes:
        content: the bytes of its file.
        model: ``TRAINER__PLANS__CONFIGURATION``, the name of the folder that the files make.
        versions: {package: version} with which the model was packed.
        members: {path below the model's folder: what the file is}, the manifest itself excepted.
    """

    content: bytes = field(repr=False)
    model: str
    versions: Mapping[str, str | None]
    members: Mapping[str, Member]

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, and thereby of all files that it names."""
        return hashlib.sha256(self.content).hexdigest()


def member_of(content: bytes) -> Member:
    """Return what the manifest says of a file with this content."""
    return Member(hashlib.sha256(content).hexdigest(), len(content))


def make_manifest(model: str, versions: Mapping[str, str | None], members: Mapping[str, Member]) -> Manifest:
    """Return the manifest of these files.

    Raises:
        SharedModelError: a name cannot be that of a shared model's file, or a file is missing.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "model": model,
        "versions": dict(versions),
        "members": {name: member._asdict() for name, member in sorted(members.items())},
    }
    return read_manifest((json.dumps(content, indent=2) + "\n").encode(), "the model")


def read_manifest(content: bytes, source: str) -> Manifest:
    """Return the manifest that a file holds.

    Args:
        content: of the file.
        source: where it is from, for messages.

    Raises:
        SharedModelError: it is none, or names files that no shared model has.
    """
    try:
        read = json.loads(content) if len(content) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict) or read.get("format") != FORMAT:
        raise SharedModelError(f"{MANIFEST} of {source} is none of a shared model. Get what share wrote.")
    if read.get("version") != VERSION:
        raise SharedModelError(
            f"{MANIFEST} of {source} has version {read.get('version')!r}, this package reads {VERSION}: install a "
            "later nnunet_missingmod."
        )
    model, versions, listed = read.get("model"), read.get("versions"), read.get("members")
    if not isinstance(model, str) or name_problem(model) or not isinstance(versions, dict):
        raise SharedModelError(f"{MANIFEST} of {source} names no model and versions: it has {str(model)[:80]!r}.")
    if not isinstance(listed, dict):
        raise SharedModelError(f"{MANIFEST} of {source} lists no files.")
    members = {name: _member(name, value, source) for name, value in listed.items()}
    _check_complete(members, source)
    return Manifest(content, model, versions, members)


def check_name(name: str, source: str) -> None:
    """Check that a path is one that a file of a shared model can have: no folder but ``fold_X``, no other ending.

    Raises:
        SharedModelError: it is not.
    """
    if not (_AT_THE_TOP.fullmatch(name) or _OF_A_FOLD.fullmatch(name)):
        raise SharedModelError(
            f"{source} has a file {name[:120]!r}, which no shared model has. Nothing of it was unpacked."
        )


def unlisted_files(manifest: Manifest, folder: Path) -> list[str]:
    """Return the files in the folders of folds that a manifest does not list, for one would be loaded as a fold.

    Hidden ones, which some systems leave in any folder, are none.
    """
    found = [file for file in folder.glob("fold_*/*") if file.is_file() and not file.name.startswith(".")]
    return sorted(name for file in found if (name := file.relative_to(folder).as_posix()) not in manifest.members)


def problem_of(manifest: Manifest, folder: Path, *, without: tuple[str, ...] = ()) -> str | None:
    """Return what is wrong with the files of a folder, as a sentence without its stop; None if nothing is.

    Args:
        without: names of files that may be missing or different.
    """
    if more := unlisted_files(manifest, folder):
        return f"it also has {listed(more)}"
    for name, member in manifest.members.items():
        if name in without:
            continue
        file = folder / name
        try:
            if file.stat().st_size != member.size:
                return f"{name} has {file.stat().st_size} bytes, not {member.size}"
            if file_fingerprint(file) != member.sha256:
                return f"{name} has another SHA-256"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    return None


def _member(name: str, value: Any, source: str) -> Member:
    check_name(name, f"{MANIFEST} of {source}")
    if name == MANIFEST:
        raise SharedModelError(f"{MANIFEST} of {source} lists itself.")
    sha256, size = (value.get(key) if isinstance(value, dict) else None for key in ("sha256", "size"))
    if not (isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256) and type(size) is int and size >= 0):
        raise SharedModelError(f"{MANIFEST} of {source} has no size and SHA-256 of {name}.")
    return Member(sha256, size)


def _check_complete(members: Mapping[str, Member], source: str) -> None:
    pairs: dict[str, set[str]] = {}
    for name in members:
        found = _OF_A_FOLD.fullmatch(name)
        if found:
            pairs.setdefault(found[1], set()).add(found[2])
    missing = [name for name in _REQUIRED if name not in members]
    missing += [
        f"{stem}.{ending}" for stem, endings in pairs.items() for ending in sorted({"json", WEIGHTS[1:]} - endings)
    ]
    if missing or not pairs:
        raise SharedModelError(f"{MANIFEST} of {source} lists no {', '.join(missing) or 'weights'}.")
    if len({name.casefold() for name in members}) < len(members):
        raise SharedModelError(f"{MANIFEST} of {source} lists names that differ in upper and lower case only.")
