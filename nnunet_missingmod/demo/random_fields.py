"""Smooth Gaussian random fields: the source of every irregular shape and texture of the phantom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# From this correlation length (voxels) on, a coarse lattice is much cheaper than filtering and looks the same.
LATTICE_FROM_VOXELS = 1.6
# Lattice points beyond either face, so that the field does not fade at the border.
LATTICE_MARGIN = 3
# Width of a lattice point's bump in lattice steps: at 0.8 neighbouring bumps merge without visible blocks.
BUMP_WIDTH = 0.8


def gaussian_random_field(
    rng: np.random.Generator, shape: Sequence[int], *, sigma_voxels: Sequence[float]
) -> NDArray[np.float32]:
    """Return a smooth random field of mean 0 and variance 1 over the volume.

    White noise convolved with a Gaussian of ``sigma_voxels``. Long correlation lengths are drawn on a coarse lattice
    whose points carry separable Gaussian bumps: three small matrix products instead of a wide filter.

    Args:
        rng: source of randomness; the number of draws depends on the arguments only.
        shape: the volume (X, Y, Z) in voxels.
        sigma_voxels: correlation length of each axis in voxels.

    Raises:
        ValueError: a correlation length is not positive, or there is not one for each axis.
    """
    if len(sigma_voxels) != len(shape) or min(sigma_voxels) <= 0:
        raise ValueError(
            f"A field of shape {tuple(shape)} needs a positive length per axis, got {tuple(sigma_voxels)}."
        )
    if min(sigma_voxels) > LATTICE_FROM_VOXELS:
        field = _lattice_field(rng, shape, sigma_voxels)
    else:
        noise = rng.standard_normal(tuple(shape), dtype=np.float32)
        field = ndimage.gaussian_filter(noise, sigma_voxels, truncate=3)
    field -= field.mean()
    field /= field.std() + 1e-6
    return field


def _lattice_field(
    rng: np.random.Generator, shape: Sequence[int], sigma_voxels: Sequence[float]
) -> NDArray[np.float32]:
    bumps = []
    for length, sigma in zip(shape, sigma_voxels, strict=True):
        points = int(np.ceil(length / sigma)) + 2 * LATTICE_MARGIN
        # The random start keeps the lattice from lying at the same place in every field.
        centres = (np.arange(points) - LATTICE_MARGIN + rng.random()) * sigma
        steps = (np.arange(length)[:, None] - centres[None]) / (BUMP_WIDTH * sigma)  # (length, points)
        bumps.append(np.exp(-0.5 * steps**2).astype(np.float32))
    field = rng.standard_normal([bump.shape[1] for bump in bumps], dtype=np.float32)
    for bump in bumps:
        field = np.tensordot(field, bump, ([0], [1]))  # each product moves its axis to the end
    return field
