"""The labels at the resolution of some output."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def at_resolution(targets: Sequence[Tensor], spatial: Sequence[int]) -> Tensor:
    """Return the target of this size: one of deep supervision's, or the full one at its nearest voxels.

    Args:
        targets: (B, 1 or more, *spatial_k) each, full resolution first.
        spatial: the size that is wanted.
    """
    for target in targets:
        if tuple(target.shape[2:]) == tuple(spatial):
            return target
    full = targets[0]
    return functional.interpolate(full.float(), size=tuple(spatial), mode="nearest").to(full.dtype)
