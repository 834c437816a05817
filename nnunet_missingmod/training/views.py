"""A batch that shows each of its cases twice, for what compares two subsets of a case."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def twice(
    batch: dict[str, Any], present: Tensor, *, device: torch.device, samples: int | None = None
) -> dict[str, Any]:
    """Return the batch on a device with its first samples (all by default) twice, one time after the other.

    They are copied to the device before they are repeated: what the CPU repeats is no longer in pinned memory, so that
    its copy to a GPU would be waited for.

    Args:
        batch: ``data`` (B, J + E, *spatial), ``target`` (B, ...) or a list of them.
        present: (B, J) bool on the CPU, kept in the batch beside them.
        device: of the training.
        samples: how many.
    """

    def repeat(tensor: Tensor) -> Tensor:
        return torch.cat([tensor[:samples].to(device, non_blocking=True)] * 2)

    target = batch["target"]
    targets = [repeat(level) for level in target] if isinstance(target, list) else repeat(target)
    return batch | {"data": repeat(batch["data"]), "present": torch.cat([present[:samples]] * 2), "target": targets}
