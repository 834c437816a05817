"""Writing a result so that a kill or a full disk never leaves half of it in a good file's place."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
