"""How an argument is read from its text: what cannot be meant is refused where it is read."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

# A window that moves by less would hardly ever end.
_LEAST_SHARE = 0.05


def path(text: str) -> Path:
    """Read an argument that is a path: an empty one, as of a variable that is not set, is not the current folder."""
    try:
        filled(text).encode()
    except UnicodeEncodeError:  # SimpleITK ends the process over such a path
        raise argparse.ArgumentTypeError(
            "it is not UTF-8 in this locale; rename it to plain letters, or set PYTHONUTF8=1 if it is UTF-8"
        ) from None
    return Path(text)


def named_path(text: str) -> str:
    """Read an argument ``[NAME=]FOLDER``, which is left as it is."""
    filled(text.rpartition("=")[2])
    return text


def file_name(text: str) -> str:
    """Read an argument that is the name of a file, without folder."""
    if Path(filled(text)).name != text or text == "..":
        raise argparse.ArgumentTypeError(f"it is the name of a file in each fold's folder, got {text!r}")
    return text


def filled(text: str) -> str:
    """Read an argument that is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; is a variable not set?")
    return text


def fold(text: str) -> int | str:
    """Read a fold: a number, or ``all``."""
    if text != "all" and not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"a fold is a number or all, got {text!r}")
    return text if text == "all" else int(text)


def device(text: str) -> str:
    """Read a device of torch, or ``auto``."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"give auto, cuda, cuda:1, mps or cpu, got {text!r}")
    return text


def share_of_patch(text: str) -> float:
    """Read the step of the sliding window, as a share of the patch."""
    try:
        share = float(text)
    except ValueError:
        share = 0
    if not _LEAST_SHARE <= share <= 1:
        raise argparse.ArgumentTypeError(f"it is at least {_LEAST_SHARE} and at most 1, got {text}")
    return share
