"""What became of each case of a prediction run: one JSON line per case, appended whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATUS_FILE = "predictions.jsonl"


def append_row(file: Path, row: Mapping[str, Any]) -> None:
    """Append one row, in a single write, so that processes may share the file.

    A row that a full disk cut off is closed by the next one's line break and stays the only unreadable line.

    Raises:
        OSError: the row could not be written as a whole.
    """
    content = (json.dumps(row, ensure_ascii=False) + "\n").encode()
    with file.open("a+b", buffering=0) as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                content = b"\n" + content
        written = stream.write(content)
    if written != len(content):
        raise OSError(f"Only {written} of {len(content)} bytes could be appended to {file}.")
