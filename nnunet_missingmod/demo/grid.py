"""The voxel grid of a phantom (brain box, spacing, the zero canvas around it), and smooth random fields on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

# Bounding box of the average brain in mm, left-right, back-front, down-up.
HEAD_MM: Spacing = (144.0, 178.0, 152.0)
# The largest share of the brain box that the average brain may span; with more, larger heads would not fit.
FILL = 0.88
DEFAULT_SIZE: Shape = (64, 72, 64)
# With a smaller side, a tumour core would be one or two voxels.
SMALLEST_SIDE = 24
# The brain at 0.4 mm, finer than any scanner's voxels, takes 506 on the longest axis.
LARGEST_SIDE = 512
FINEST_MM = 0.01
# Zero margin on either side of the brain box, as a share of its side: the box then takes 58 % of the canvas.
CANVAS_MARGIN = 0.1
# nnU-Net normalises inside the brain only if cropping leaves less than this share of the volume.
CROPPED_SHARE = 0.75

# For correlation lengths (voxels) above this, a coarse lattice is much faster than filtering and looks the same.
LATTICE_FROM_VOXELS = 1.6
# Lattice points beyond either face, so that the field does not fade at the border.
LATTICE_MARGIN = 3
# Width of a lattice point's bump in lattice steps: at 0.8 neighbouring bumps merge without visible blocks.
BUMP_WIDTH = 0.8


@dataclass(frozen=True)
class Grid:
    """Lattice on which a case is drawn: ``size`` voxels of ``spacing_mm`` hold the brain, centred on ``canvas``."""

    size: Shape
    spacing_mm: Spacing
    canvas: Shape

    def axes_mm(self) -> list[NDArray[np.float32]]:
        """Return the voxel centres along each axis in mm, 0 in the middle of the box."""
        return [
            ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32)
            for n, step in zip(self.size, self.spacing_mm, strict=True)
        ]

    def points_mm(self) -> NDArray[np.float32]:
        """Return the position of every voxel, (3, X, Y, Z) in mm."""
        return np.stack(np.meshgrid(*self.axes_mm(), indexing="ij"))

    def offsets_mm(self, centre: Sequence[int]) -> NDArray[np.float32]:
        """Return the way from the voxel ``centre`` to every voxel, (3, X, Y, Z) in mm."""
        start = np.array([axis[index] for axis, index in zip(self.axes_mm(), centre, strict=True)])
        return self.points_mm() - start[:, None, None, None]

    def sigma_voxels(self, sigma_mm: float, *, at_least: float = 0.0) -> Spacing:
        """Return a length in mm as voxels of each axis, never below ``at_least`` voxels."""
        x, y, z = (max(at_least, sigma_mm / step) for step in self.spacing_mm)
        return x, y, z

    def field(self, rng: np.random.Generator, sigma_mm: float, *, at_least: float = 0.0) -> NDArray[np.float32]:
        """Return a Gaussian random field with correlation length ``sigma_mm``, at least ``at_least`` voxels."""
        return gaussian_random_field(rng, self.size, sigma_voxels=self.sigma_voxels(sigma_mm, at_least=at_least))

    def depth_mm(self, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return each inside voxel's distance to the nearest outside voxel in mm, 0 outside."""
        return ndimage.distance_transform_edt(inside, sampling=self.spacing_mm).astype(np.float32)

    def ball_mm(self, centre: Sequence[int]) -> NDArray[np.float32]:
        """Return every voxel's distance to the voxel ``centre`` in mm."""
        x, y, z = ((axis - axis[index]) ** 2 for axis, index in zip(self.axes_mm(), centre, strict=True))
        return np.sqrt(x[:, None, None] + y[:, None] + z)

    def pad(self, volume: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the box's volume centred on the zero canvas."""
        margins = [((c - n) // 2, c - n - (c - n) // 2) for c, n in zip(self.canvas, self.size, strict=True)]
        return np.pad(volume, margins)


def resolve_grid(
    size: Sequence[int] | None = None,
    spacing_mm: Sequence[float] | float | None = None,
    canvas: Sequence[int] | None = None,
) -> Grid:
    """Return the grid for the given values, and choose those that are not given.

    With a size only, the spacing is the finest isotropic one at which the head fits. With a spacing only, the size is
    the smallest in which it fits. With neither, the size is 64 x 72 x 64. If both are given, the head must fit. By
    default the canvas has a margin of a tenth of the box on every side.

    Args:
        size: brain box (X, Y, Z) in voxels.
        spacing_mm: voxel size in mm, one number or one for each axis.
        canvas: volume (X, Y, Z) in voxels of the images.

    Raises:
        ValueError: a number is missing or too small, the head does not fit, or the canvas is too small for nnU-Net to
            normalise within the brain.
    """
    spacing = None if spacing_mm is None else _spacing(spacing_mm)
    if size is not None:
        box = _shape("size", size)
    elif spacing is not None:
        x, y, z = (ceil(head / (FILL * step) - 1e-6) for head, step in zip(HEAD_MM, spacing, strict=True))
        box = (x, y, z)
    else:
        box = DEFAULT_SIZE
    if min(box) < SMALLEST_SIDE:
        raise ValueError(
            f"A brain box of {_times(box)} voxels is too coarse for a tumour: "
            f"give a size of at least {SMALLEST_SIDE} on each axis, or a finer spacing."
        )
    if max(box) > LARGEST_SIDE:
        raise ValueError(
            f"A brain box of {' x '.join(map(str, box))} voxels is too large to draw: give a size of at most "
            f"{LARGEST_SIDE} on each axis, or a coarser spacing."
        )
    # Rounded up to 0.01 mm, so that the spacing is a short number.
    needed = max(ceil(100 * head / (FILL * n) - 1e-6) / 100 for head, n in zip(HEAD_MM, box, strict=True))
    if spacing is None:
        spacing = (needed, needed, needed)
    room = [n * step for n, step in zip(box, spacing, strict=True)]
    if any(FILL * have < head - 1e-3 for have, head in zip(room, HEAD_MM, strict=True)):
        raise ValueError(
            f"The brain needs {_times(ceil(head / FILL) for head in HEAD_MM)} mm, but size {_times(box)} at spacing "
            f"{_times(spacing)} mm gives {_times(room)} mm: leave out the size or the spacing, "
            f"or give a spacing of at least {needed:.2f} mm."
        )
    return Grid(size=box, spacing_mm=spacing, canvas=_canvas(canvas, box))


def _canvas(canvas: Sequence[int] | None, box: Shape) -> Shape:
    if canvas is None:
        x, y, z = (n + 2 * ceil(CANVAS_MARGIN * n) for n in box)
        return x, y, z
    volume = _shape("canvas", canvas)
    if any(c < n for c, n in zip(volume, box, strict=True)) or prod(box) >= CROPPED_SHARE * prod(volume):
        raise ValueError(
            f"The canvas {_times(volume)} must hold the brain box {_times(box)}, which must take less than "
            f"{CROPPED_SHARE:.0%} of it, else nnU-Net would not normalise inside the brain: give a larger canvas."
        )
    return volume


def _shape(name: str, value: Sequence[int]) -> Shape:
    if len(value) != 3 or any(int(n) != n or n < 1 for n in value):
        raise ValueError(f"{name} takes three positive whole numbers X Y Z, got {tuple(value)}.")
    x, y, z = (int(n) for n in value)
    return x, y, z


def _spacing(value: Sequence[float] | float) -> Spacing:
    steps = (value,) * 3 if isinstance(value, int | float) else tuple(value)
    if len(steps) == 1:
        steps = steps * 3
    if len(steps) != 3 or not all(FINEST_MM <= step < np.inf for step in steps):
        raise ValueError(f"The spacing takes one or three numbers in mm, each at least {FINEST_MM}, got {value}.")
    x, y, z = (float(step) for step in steps)
    return x, y, z


def _times(numbers: object) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)  # type: ignore[attr-defined]


def gaussian_random_field(
    rng: np.random.Generator, shape: Sequence[int], *, sigma_voxels: Sequence[float]
) -> NDArray[np.float32]:
    """Return a smooth random field of mean 0 and variance 1 over the volume.

    It is white noise convolved with a Gaussian of ``sigma_voxels``. Fields of long correlation length are drawn on a
    coarse lattice with a separable Gaussian bump at each point: three small matrix products instead of a wide filter.

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
        # The random offset puts the lattice at another place in every field.
        centres = (np.arange(points) - LATTICE_MARGIN + rng.random()) * sigma
        steps = (np.arange(length)[:, None] - centres[None]) / (BUMP_WIDTH * sigma)  # (length, points)
        bumps.append(np.exp(-0.5 * steps**2).astype(np.float32))
    field = rng.standard_normal([bump.shape[1] for bump in bumps], dtype=np.float32)
    for bump in bumps:
        field = np.tensordot(field, bump, ([0], [1]))  # each product moves its axis to the end
    return field
