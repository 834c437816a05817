"""The output of a network, whatever its type: its tensors, how far two outputs are apart, one number to differentiate.

Every check compares outputs by these functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch


def tensors_of(output: Any) -> list[torch.Tensor]:
    """Return the tensors of an output: a tensor, or lists, tuples and dicts of outputs; anything else is left out.

    Raises:
        ValueError: there is no tensor in it.
    """
    found = list(tensors_in(output))
    if not found:
        raise ValueError(f"The network returned no tensor but {type(output).__name__}.")
    return found


def tensors_in(output: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of an output as `tensors_of` does; there may be none."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors_in(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from tensors_in(value)


def largest_difference(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """Return ``max |a - b| / max(|a|, |b|)`` of two outputs, the largest over their tensors; 0 if they are equal.

    NaN equals NaN. It is infinite where shapes differ, or where one is finite and the other is not.
    """
    if [tensor.shape for tensor in one] != [tensor.shape for tensor in other]:
        return float("inf")
    return max((_difference(a, b) for a, b in zip(one, other, strict=True)), default=0.0)


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    wide = torch.float64 if a.device.type != "mps" else torch.float32
    a, b = a.to(wide), b.to(wide)
    same = (a == b) | (a.isnan() & b.isnan())
    if bool(same.all()):
        return 0.0
    apart = (a - b).abs()[~same]
    scale = torch.maximum(a.abs(), b.abs())
    scale = scale[scale.isfinite()]
    if not bool(apart.isfinite().all()) or not len(scale):
        return float("inf")
    return float(apart.max() / scale.max())


def all_finite(output: Sequence[torch.Tensor]) -> bool:
    """Return whether every value of an output is a finite number."""
    return all(bool(tensor.isfinite().all()) for tensor in output)


def projection(output: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Return a random linear function of the output's tensors that have a graph, or None if none has.

    The sum of an output that is normalised, or of probabilities, is constant; a random projection is not.
    """
    generator = torch.Generator().manual_seed(0)
    parts = [
        (tensor * torch.randn(tensor.shape, generator=generator).to(tensor.device, tensor.dtype)).sum()
        for tensor in output
        if tensor.requires_grad and tensor.is_floating_point()
    ]
    return (
        torch.stack([part.float() if part.dtype == torch.float16 else part for part in parts]).sum() if parts else None
    )
