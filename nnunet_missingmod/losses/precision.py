"""The number format in which every loss computes: float32 or wider, with autocast off.

Logits and features arrive in half precision under autocast; powers and logarithms of probabilities do not survive that.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Return ``values`` in float32, or unchanged if they are float32 or float64 already."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def autocast_off(values: Tensor) -> torch.autocast:
    """Return a context in which autocast is off on the device of ``values``."""
    return torch.autocast(device_type=values.device.type, enabled=False)


def autocast_like(values: Tensor) -> AbstractContextManager[object]:
    """Return a context in which float32 layers take ``values``: autocast to its dtype if that is half precision.

    Half-precision features come from a forward under autocast, but their loss may be computed outside of it.
    """
    if values.dtype in (torch.float16, torch.bfloat16):
        return torch.autocast(device_type=values.device.type, dtype=values.dtype)
    return nullcontext()
