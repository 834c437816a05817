"""Mean of the values that count: the one reduction of all losses that leave voxels or samples out."""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum(w * v) / sum(w)``, or a zero that keeps the graph if no weight is positive.

    A value of weight zero does not count, not even if it is NaN, and gets a gradient of zero. (What computed a NaN may
    still turn that zero into NaN: blank its input too.) The zero keeps the graph because in distributed training every
    parameter behind ``values`` must receive a gradient.

    Args:
        values: any shape, floating point.
        weights: non-negative, bool or number, broadcastable to the shape of ``values``.
    """
    weights = weights.to(values.dtype).expand_as(values)
    total = weights.sum()
    weighted = torch.where(weights > 0, values, 0.0) * weights
    return weighted.sum() / torch.where(total > 0, total, 1.0)
