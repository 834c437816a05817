"""What a command prints for its user: one line at a time on standard output."""

from __future__ import annotations

import sys


def say(line: str = "") -> None:
    """Write a line to standard output at once, so that progress is seen through a pipe too."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
