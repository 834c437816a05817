"""Measures what one prediction costs: the network's parameters, its time, and the memory that it takes at its peak."""

from __future__ import annotations

import ctypes
import gc
import platform
import time
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod.evaluation.costs import Cost
from nnunet_missingmod.networks.backbone import unwrapped

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
# The first prediction also loads kernels and grows pools; of those after it the fastest is told.
_REPEATS = 2


def measure_cost(predictor: nnUNetPredictor, data: torch.Tensor) -> Cost:
    """Return the cost of predicting a preprocessed case, three times in a row.

    Peak memory is that of the first time, before anything is kept for later. On a GPU it is what torch allocates there;
    on a CPU the process's largest resident size minus the size before, which Linux alone tells.

    Args:
        predictor: nnU-Net's, with the weights of its folds.
        data: (J, *spatial), as the preprocessor leaves it.
    """
    device: torch.device = predictor.device
    before = _start_of_peak(device)
    _predict(predictor, data)
    peak = _peak(device)
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        _predict(predictor, data)
        seconds.append(time.perf_counter() - began)
    network: Any = unwrapped(predictor.network)
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        folds=len(predictor.list_of_parameters),
        seconds=min(seconds),
        peak_bytes=None if before is None or peak is None else max(0, peak - before),
        voxels=tuple(data.shape[1:]),
        device=_described(device),
    )


def _predict(predictor: nnUNetPredictor, data: torch.Tensor) -> None:
    predictor.predict_logits_from_preprocessed_data(data)
    if predictor.device.type == "cuda":
        torch.cuda.synchronize(predictor.device)


def _start_of_peak(device: torch.device) -> int | None:
    """Begin to watch the peak, and return what is in use now, in bytes."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        # What the allocator keeps for later would hide a part of the peak.
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    except (OSError, AttributeError):
        return None
    return _kilobytes("VmRSS")


def _peak(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _kilobytes("VmHWM")


def _kilobytes(name: str) -> int | None:
    """Return an entry of this process's status in bytes."""
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)


def _described(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads, {platform.machine()}"
