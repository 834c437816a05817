"""Helpers that every loss shares: its number format, the weighted mean, and the weighted sum of named terms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional


def at_least_float32(values: Tensor) -> Tensor:
    """Return ``values`` in float32, or unchanged if they are float32 or float64 already."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def autocast_off(values: Tensor) -> torch.autocast:
    """Return a context in which autocast is off on the device of ``values``."""
    return torch.autocast(device_type=values.device.type, enabled=False)


def autocast_like(values: Tensor) -> AbstractContextManager[object]:
    """Return a context in which float32 layers accept ``values``: autocast to its dtype if it is half precision.

    A forward pass under autocast returns half-precision features, but their loss may be computed outside of autocast.
    """
    if values.dtype in (torch.float16, torch.bfloat16):
        return torch.autocast(device_type=values.device.type, dtype=values.dtype)
    return nullcontext()


def zero_left_out_samples(feature: Tensor, sample_weights: Tensor) -> Tensor:
    """Return the detached feature (B, C, *spatial) with zeros for samples of weight 0 (or false)."""
    counted = (sample_weights > 0).view(-1, *[1] * (feature.dim() - 1))
    return torch.where(counted, feature.detach(), 0.0)


def pooled(feature: Tensor, grid: Sequence[int]) -> Tensor:
    """Return a feature (B, C, *spatial) in 2D or 3D, averaged to (B, C, *grid)."""
    pool = functional.adaptive_avg_pool2d if feature.ndim == 4 else functional.adaptive_avg_pool3d
    return pool(feature, tuple(grid))  # type: ignore[arg-type]


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return ``sum(w * v) / sum(w)``, or a zero that keeps the graph if no weight is positive.

    A value of weight zero has no effect, even if it is NaN, and gets a gradient of zero. (The operation that computed a
    NaN may still turn that zero into NaN, so replace the NaN in its input too.) The result keeps the graph even if it
    is zero, because in distributed training every parameter must receive a gradient.

    Args:
        values: any shape, floating point.
        weights: non-negative, bool or number, broadcastable to the shape of ``values``.
    """
    weights = weights.to(values.dtype).expand_as(values)
    total = weights.sum()
    weighted = torch.where(weights > 0, values, 0.0) * weights
    return weighted.sum() / torch.where(total > 0, total, 1.0)


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return ``sum over names of weights[name] * terms[name]``, a scalar.

    A term of weight 0 stays in the graph, because its parameters must take part in every step of distributed training.

    Raises:
        ValueError: there is no term, a name is in only one of the mappings, or a term is not a scalar.
    """
    if not terms:
        raise ValueError("A weighted sum needs at least one term, got none.")
    if set(terms) != set(weights):
        without_weight, without_term = sorted(set(terms) - set(weights)), sorted(set(weights) - set(terms))
        raise ValueError(
            f"Terms and weights must have the same names: no weight for {without_weight}, no term for {without_term}."
        )
    for name, term in terms.items():
        if term.dim() != 0:
            raise ValueError(f"Term {name!r} must be a scalar, got shape {tuple(term.shape)}: reduce it first.")
    first, *others = (weights[name] * term for name, term in terms.items())
    return sum(others, start=first)


def warmup_weight(weight: float, step: int, warmup_steps: int) -> float:
    """Return ``weight * min(1, step / warmup_steps)``: linear from 0 at step 0 to ``weight`` at ``warmup_steps``.

    Both numbers count the same unit, iterations or epochs. If ``warmup_steps`` is 0, there is no warm-up.

    Raises:
        ValueError: ``step`` or ``warmup_steps`` is negative.
    """
    if step < 0 or warmup_steps < 0:
        raise ValueError(f"Steps are counted from 0, got step {step} and warmup_steps {warmup_steps}.")
    return weight if step >= warmup_steps else weight * step / warmup_steps


def gaussian_ramp(step: int, steps: int) -> float:
    """Return ``exp(-5 (1 - step / steps)^2)`` up to ``steps``, then 1; 1 at once if ``steps`` is 0.

    Source: Azad et al., SMU-Net (2022); it is that of Laine and Aila, Temporal Ensembling (2017).
    """
    return math.exp(-5 * (1 - step / steps) ** 2) if step < steps else 1.0
