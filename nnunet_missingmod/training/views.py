"""A batch that shows each of its cases twice, for what compares two subsets of a case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def twice(
    batch: dict[str, Any], present: Tensor, *, device: torch.device, samples: Sequence[int] | None = None
) -> dict[str, Any]:
    """Return the batch on a device with some of its samples (all by default) twice, one time after the other.

    They are copied to the device before they are repeated: what the CPU repeats is no longer in pinned memory, so that
    its copy to a GPU would be waited for.

    Args:
        batch: ``data`` (B, J + E, *spatial), ``target`` (B, ...) or a list of them.
        present: (B, J) bool on the CPU, kept in the batch beside them.
        device: of the training.
        samples: which.
    """
    shown = list(range(len(present)) if samples is None else samples) * 2

    def repeat(tensor: Tensor) -> Tensor:
        # Without an index on the device, whose copy would be waited for.
        samples_there = tensor.to(device, non_blocking=True).unbind()
        return torch.stack([samples_there[sample] for sample in shown])

    target = batch["target"]
    targets = [repeat(level) for level in target] if isinstance(target, list) else repeat(target)
    return batch | {"data": repeat(batch["data"]), "present": present[shown], "target": targets}
