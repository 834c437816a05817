"""Files that are whole or not there, and fingerprints by which a later run knows what made them."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BLOCK_BYTES = 1024**2


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path`` that takes its place once the block ends without an error.

    The suffix is kept, since image writers choose their format by it. The folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 with its line ends as they are; ``path`` holds the old content or all of the new one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


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

    Equal values in equal order give equal fingerprints, on every machine and device. Model cards and trainings keep
    them, so the bytes that are hashed never change: JSON with sorted keys, then of each tensor its name and raw values.

    Args:
        contents: what JSON can hold; other values by their ``str``.
        weights: a network's state dict: tensors of any shape and number format.
    """
    computed = hashlib.sha256()
    for content in contents:
        computed.update(json.dumps(content, sort_keys=True, default=str).encode())
    for name, value in (weights or {}).items():
        computed.update(name.encode())
        # Flat first: a tensor without axes (a batch counter, say) cannot be seen as bytes otherwise.
        flat = value.detach().cpu().contiguous().flatten()
        computed.update(flat.view(flat.new_empty(0).byte().dtype).numpy().tobytes())
    return computed.hexdigest()
