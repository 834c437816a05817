"""Files that are written completely or not at all, and fingerprints of files, settings and weights.

Everything that this package writes to disk goes through `replaced_when_complete`. A later run compares fingerprints to
know whether a stored result is still valid. `check_output`, `check_not_of_the_host` and `name_problem` tell before the
work whether something can be written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import unicodedata
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunet_missingmod.errors import UsageError

_BLOCK_BYTES = 1024**2
# Of a file's name, on nearly every file system.
_PART_BYTES = 255
# Of the name of a case or a model, to which endings and marks of unfinished files are added.
_NAME_BYTES = 200
_VARIABLES_OF_THE_HOST = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
# What nnU-Net's folders hold, by which they are known wherever they lie.
_OF_THE_HOST = {
    "a raw dataset": ("dataset.json", "images*/", "labels*/"),
    "a preprocessed dataset": ("dataset.json", "dataset_fingerprint.json"),
    "a model": ("plans.json", "dataset.json", "fold_*/"),
    "a fold of a model": ("checkpoint_*.*",),
}
_NIFTI_ENDING = re.compile(r"\.(nii|nia|hdr|img)(\.gz)?$", re.IGNORECASE)


def check_output(folder: Path) -> None:
    """Check that a folder can be written to, or made. Nothing is left behind.

    Raises:
        UsageError: it cannot.
    """
    try:
        if max(len(os.fsencode(part)) for part in folder.absolute().parts) > _PART_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        place = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error


def check_not_of_the_host(folder: Path) -> None:
    """Check that results are not written among what nnU-Net keeps: datasets, models, and the folders of all of them.

    Raises:
        UsageError: the folder is one of nnU-Net's, or holds one.
    """
    resolved = folder.resolve()
    places = {name: Path(os.environ[name]).resolve() for name in _VARIABLES_OF_THE_HOST if os.environ.get(name)}
    for variable, place in places.items():
        if place.is_relative_to(resolved):
            raise UsageError(f"-o {folder} is or holds {place}, which is {variable}. Choose another -o.")
    if resolved.is_dir() and resolved.parent == places.get("nnUNet_raw"):
        raise UsageError(f"-o {folder} is a raw dataset. Choose another -o.")
    for what, files in _OF_THE_HOST.items():
        if all(any(resolved.glob(pattern)) for pattern in files):
            raise UsageError(f"-o {folder} is {what}. Choose another -o.")


def cannot_write(folder: Path, error: OSError) -> UsageError:
    """Return the error of a command that may not write into its output folder."""
    return UsageError(
        f"Cannot write into {folder}: {error.strerror or error}. Choose another -o, or mend the access rights."
    )


def name_problem(name: str) -> str | None:
    """Return why a file or folder cannot be called so everywhere, as the end of a sentence; None if it can."""
    if not name or name.startswith("."):
        return "is empty or starts with a dot"
    if any(character in "/\\" or unicodedata.category(character).startswith("C") for character in name):
        return "holds a slash or a character that cannot be shown"
    if len(name.encode()) > _NAME_BYTES:
        return f"is longer than {_NAME_BYTES} bytes"
    return ending_problem(name)


def ending_problem(name: str) -> str | None:
    """Return why a case's name that ends as a NIfTI file does cannot be used, as the end of a sentence; None if it can.

    ITK writes ``x.nii.gz.nii.gz`` to ``x.nii.gz``.
    """
    ending = _NIFTI_ENDING.search(name)
    return f"ends with {ending[0]}, an ending of image files, and must be without" if ending else None


@contextmanager
def replaced_when_complete(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; if the block ends without an error, it replaces ``path``.

    It is in the folder of ``path``, which is created if it does not exist. It has the same suffix, because image
    writers choose their format by it.

    Raises:
        OSError: it cannot be written; the error names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def moved_when_complete(folder: Path, *, last: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder inside of ``folder``; if the block ends without an error, its files move up.

    It is for writers that write more files than the one that they are asked for.

    Args:
        folder: it is created if it does not exist.
        last: names of files that move after all others, in this order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{uuid.uuid4().hex[:12]}"
    try:
        temporary.mkdir()
        yield temporary
        ranks = {name: rank for rank, name in enumerate(last)}
        for file in sorted(temporary.iterdir(), key=lambda file: (ranks.get(file.name, -1), file.name)):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, line ends unconverted; ``path`` has the old or all of the new content, never a part.

    What of a file name is not UTF-8 is written as ``\\udcff``.
    """
    with replaced_when_complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds, with or without a byte-order mark before it.

    Raises:
        ValueError: there is no such file, it cannot be read, or it holds something else; the message says which, but
            does not name the file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8") from None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error})" if path.stat().st_size else "it is empty") from error
    if not isinstance(content, dict):
        raise ValueError(f"it holds {json.dumps(content)[:40]}, not an object in curly brackets")
    return content


def file_fingerprint(file: Path) -> str:
    """Return the SHA-256 of a file's content, as 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    computed = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            computed.update(block)
    return computed.hexdigest()


def fingerprint(*contents: Any, weights: Mapping[str, Any] | None = None) -> str:
    """Return the SHA-256 of JSON contents and, after them, of named tensors, as 64 hexadecimal digits.

    Equal values in equal order give equal fingerprints, on every machine and device. Model cards and checkpoints store
    them, so never change which bytes are hashed: JSON with sorted keys, then the name and raw values of each tensor.

    Args:
        contents: JSON values; other values are hashed by their ``str``.
        weights: a network's state dict: tensors of any shape and number format.
    """
    computed = hashlib.sha256()
    for content in contents:
        computed.update(json.dumps(content, sort_keys=True, default=str).encode())
    for name, value in (weights or {}).items():
        computed.update(name.encode())
        # Flattened first, because a tensor without axes (such as a batch counter) cannot be viewed as bytes.
        flat = value.detach().cpu().contiguous().flatten()
        computed.update(flat.view(flat.new_empty(0).byte().dtype).numpy().tobytes())
    return computed.hexdigest()
