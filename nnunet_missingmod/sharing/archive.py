"""The zip of a shared model: written file by file, and unpacked only if it holds exactly what its manifest says.

Nothing in it is compressed, for weights hardly can be: so no zip unpacks to more than its own size. Equal files give
equal zips, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from nnunet_missingmod.errors import listed
from nnunet_missingmod.sharing.manifest import (
    MANIFEST,
    MOST_BYTES,
    WEIGHTS,
    Manifest,
    Member,
    SharedModelError,
    check_name,
    read_manifest,
)
from nnunet_missingmod.storage import replaced_when_complete

_BLOCK_BYTES = 1024**2
_AGAIN = "Get the file again from where it came from."
# What zipfile raises for files that are torn or made up.
_TORN = (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, struct.error, UnicodeError, OverflowError)


@contextlib.contextmanager
def zip_writer(file: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Yield a function that adds a file by name and content; the zip gets its name when all of it is written.

    Raises:
        OSError: it cannot be written.
    """
    with replaced_when_complete(file) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, content: bytes) -> None:
            info = zipfile.ZipInfo(name)  # of 1980, so that equal files give equal zips
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)

        yield add


def unpack_manifest(file: Path) -> Manifest:
    """Return the manifest of a zip, all names and sizes in which agree with it; no file's content was looked at.

    Raises:
        SharedModelError: it is a checkpoint, no zip, or none of a shared model, or torn or changed.
        OSError: it cannot be read.
    """
    if file.suffix in (".pth", WEIGHTS):
        raise SharedModelError(
            f"{file} is a checkpoint, which is no model alone: give the folder of its model, which holds plans.json "
            "and dataset.json."
        )
    with _opened(file) as archive:
        if MANIFEST not in archive.namelist():
            raise SharedModelError(
                f"{file} has no {MANIFEST}, so it is no model that nnunet_missingmod share wrote. Unzip it, and give "
                "the folder in it that holds plans.json and dataset.json."
            )
        entries = _checked_entries(archive, file)
        if entries[MANIFEST].file_size > MOST_BYTES:
            raise SharedModelError(f"{MANIFEST} of {file} is longer than {MOST_BYTES} bytes.")
        manifest = read_manifest(archive.read(entries[MANIFEST]), str(file))
    missing = [name for name in manifest.members if name not in entries]
    more = [name for name in entries if name not in manifest.members and name != MANIFEST]
    if missing or more:
        found = [f"lacks {listed(missing)}"] * bool(missing) + [f"also has {listed(more)}"] * bool(more)
        raise SharedModelError(f"{file} is not what its {MANIFEST} lists: it {' and '.join(found)}. {_AGAIN}")
    for name, member in manifest.members.items():
        if entries[name].file_size != member.size:
            raise SharedModelError(
                f"{name} in {file} has {entries[name].file_size} bytes, {member.size} by its {MANIFEST}. {_AGAIN}"
            )
    return manifest


def unpack(file: Path, manifest: Manifest, folder: Path) -> None:
    """Write the files of a zip into a folder, each checked against the manifest.

    Args:
        file: the zip.
        manifest: as ``unpack_manifest`` returned it.
        folder: an empty one, which holds anything at all if this fails.

    Raises:
        SharedModelError: a file is not what the manifest says, or the disk has no room for it.
        OSError: something cannot be read or written.
    """
    needed, free = sum(member.size for member in manifest.members.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise SharedModelError(f"{file} unpacks to {needed} bytes, and {folder} has {free} free: make room.")
    with _opened(file) as archive:
        for name, member in manifest.members.items():
            (folder / name).parent.mkdir(exist_ok=True)
            with archive.open(name) as source, (folder / name).open("xb") as target:
                copy_checked(source, target, member, what=f"{name} in {file}")
    (folder / MANIFEST).write_bytes(manifest.content)


def copy_checked(source: IO[bytes], target: IO[bytes], member: Member, *, what: str) -> None:
    """Copy a file, no byte more than its size.

    Raises:
        SharedModelError: its size or its SHA-256 is another one.
    """
    computed, left = hashlib.sha256(), member.size
    while block := source.read(min(_BLOCK_BYTES, left + 1)):
        left -= len(block)
        if left < 0:
            break
        computed.update(block)
        target.write(block)
    if left or computed.hexdigest() != member.sha256:
        raise SharedModelError(
            f"{what} is torn or was changed: its size or SHA-256 is not that of the {MANIFEST}. {_AGAIN}"
        )


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except _TORN as error:
        raise SharedModelError(
            f"{file} is no zip of a model, or is torn: {error}. {_AGAIN} A model in a folder is given by its folder."
        ) from error


def _checked_entries(archive: zipfile.ZipFile, file: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by name, none of which would leave the folder, be no file, or take more than its bytes."""
    entries = archive.infolist()
    number = Counter(entry.filename.casefold() for entry in entries)
    for entry in entries:
        check_name(entry.orig_filename, str(file))
        kind = stat.S_IFMT(entry.external_attr >> 16)
        wrong = None
        if number[entry.filename.casefold()] > 1:
            wrong = "is in it twice"
        elif kind not in (0, stat.S_IFREG):
            wrong = "is a link or another thing than a file"
        elif entry.flag_bits & 1:
            wrong = "is encrypted"
        elif entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            wrong = "is compressed, which share does not do"
        if wrong:
            raise SharedModelError(f"{entry.filename} in {file} {wrong}. Nothing of it was unpacked. {_AGAIN}")
    if sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise SharedModelError(f"The files in {file} are longer than itself. Nothing of it was unpacked. {_AGAIN}")
    return {entry.filename: entry for entry in entries}
