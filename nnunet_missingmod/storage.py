"""Files that are written completely or not at all, and fingerprints of files, settings and weights.

Everything that this package writes to disk goes through `replaced_when_complete`. A later run compares fingerprints to
know whether a stored result is still valid.
"""

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
def replaced_when_complete(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; if the block ends without an error, it replaces ``path``.

    It is in the folder of ``path``, which is created if it does not exist. It has the same suffix, because image
    writers choose their format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, line ends unconverted; ``path`` has the old or all of the new content, never a part."""
    with replaced_when_complete(path) as temporary:
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
