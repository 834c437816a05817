"""A batch that shows each of its cases twice, for what compares two subsets of a case."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def twice(batch: dict[str, Any], present: Tensor, *, samples: int | None = None) -> dict[str, Any]:
    """Return the batch with its first samples (all by default) twice, one time after the other.

    Args:
        batch: ``data`` (B, J + E, *spatial), ``target`` (B, ...) or a list of them.
        present: (B, J) bool, kept in the batch beside them.
        samples: how many.
    """

    def repeat(tensor: Tensor) -> Tensor:
        return torch.cat([tensor[:samples]] * 2)

    target = batch["target"]
    targets = [repeat(level) for level in target] if isinstance(target, list) else repeat(target)
    return batch | {"data": repeat(batch["data"]), "present": repeat(present), "target": targets}
