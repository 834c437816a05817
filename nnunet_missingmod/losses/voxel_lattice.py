"""A random lattice of voxels, on which a mean over the voxels of large features is estimated.

Neighbouring voxels of a feature say nearly the same, and where there are many of them a mean over all costs more than
it tells. Every other voxel along each axis, from a random start, gives each voxel the same chance: the estimate has the
mean as its expectation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

SHORT_AXIS = 8  # voxels, up to which every one along an axis counts
_STEP = 2


def draw_lattice(size: Sequence[int], rng: np.random.Generator) -> tuple[slice, ...]:
    """Return a slice per axis of ``size``: every other voxel from the first or second, or a short axis whole."""
    starts = rng.integers(_STEP, size=len(size)).tolist()
    return tuple(
        slice(None) if length <= SHORT_AXIS else slice(start, None, _STEP)
        for length, start in zip(size, starts, strict=True)
    )


def on_lattice(feature: torch.Tensor, lattice: tuple[slice, ...]) -> torch.Tensor:
    """Return the lattice's voxels of a feature (B, C, *spatial), as a view."""
    return feature[(slice(None), slice(None), *lattice)]
