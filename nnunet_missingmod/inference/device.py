"""The device on which a network runs: the one that was asked for, if it is there."""

from __future__ import annotations

import torch


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device; ``"auto"`` is the GPU if there is one, else the CPU.

    Raises:
        ValueError: torch does not know the device, or this machine does not have it.
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
