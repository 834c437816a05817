"""What a user of ``Predictor`` names: the device, the modality of each file, the case."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import torch


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device; ``"auto"`` is the GPU where there is one, else the CPU.

    Raises:
        ValueError: torch does not know it, or it is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"Unknown device {device!r}: give cuda, cuda:1, mps or cpu.") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(chosen.type, False) or (
        chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    ):
        raise ValueError(f"There is no device {str(chosen)!r} here: give cpu, or mend the driver.")
    return chosen


def assign_names(images: Mapping[str, str | os.PathLike[str]], names: Sequence[str]) -> dict[int, Path]:
    """Return {channel: file} in channel order.

    An image that holds all J channels (RGB) is given as the first one's file, as nnU-Net does.

    Raises:
        ValueError: a name is not exactly a channel's, two names have the same file, or there is none.
    """
    listed = ", ".join(names)
    if not images:
        raise ValueError(f"No modality is given. Give at least one of: {listed}.")
    for name in images:
        if name not in names:
            near = difflib.get_close_matches(name.casefold(), {n.casefold(): n for n in names}, n=1)
            meant = next((f" Did you mean {n!r}?" for n in names if near and n.casefold() == near[0]), "")
            raise ValueError(f"The model has no modality {name!r}.{meant} Its modalities are: {listed}.")
    files = {names.index(name): Path(file) for name, file in images.items()}
    first: dict[Path, int] = {}
    for channel, file in sorted(files.items()):
        other = first.setdefault(file.resolve(), channel)
        if other != channel:
            raise ValueError(f"{file} is given as {names[other]} and as {names[channel]}. Give each modality its own.")
    return dict(sorted(files.items()))


def common_name(files: Sequence[Path]) -> str:
    """Return a case name: what the file names have in common, up to a separator; ``"case"`` if that is nothing."""
    stems = [re.sub(r"_[0-9]{4}$", "", file.name.split(".")[0]) for file in files]
    shared = "".join(
        letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*stems, strict=False))
    )
    if any(stem != shared for stem in stems):
        shared = re.split(r"[_\-. ][^_\-. ]*$", shared)[0]
    return shared or "case"
