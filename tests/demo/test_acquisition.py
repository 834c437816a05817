"""Acquisition: shift and blur against closed forms, and whole numbers that are zero only outside the brain."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.demo.acquisition import acquire, shift_and_blur
from nnunet_missingmod.demo.contrast import MODALITIES
from nnunet_missingmod.demo.grid import resolve_grid


def _moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in image.shape), indexing="ij")).astype(float)
    mean = (image * grid).sum((1, 2, 3)) / image.sum()
    return mean, (image * (grid - mean[:, None, None, None]) ** 2).sum((1, 2, 3)) / image.sum()


def test_point_moves_by_the_shift_and_widens_by_the_blur() -> None:
    point = np.zeros((31, 31, 31), np.float32)
    point[15, 15, 15] = 1
    shift, sigma = np.array([0.3, -1.4, 0.0]), np.array([1.0, 1.5, 2.0])
    image = shift_and_blur(point, shift_voxels=shift, sigma_voxels=sigma)
    mean, variance = _moments(image)
    fraction = shift - np.floor(shift)
    assert image.sum() == pytest.approx(1, abs=1e-3)
    assert mean == pytest.approx(15 + shift, abs=1e-2)
    # Linear interpolation at a fraction f adds a variance of f (1 - f).
    assert variance == pytest.approx(sigma**2 + fraction * (1 - fraction), rel=1e-2)


def test_whole_shift_without_blur_moves_voxels() -> None:
    image = np.random.default_rng(0).random((8, 8, 8), dtype=np.float32)
    moved = shift_and_blur(image, shift_voxels=np.array([1, 0, -2]), sigma_voxels=np.full(3, 0.05))
    assert moved[1:, :, :-2] == pytest.approx(image[:-1, :, 2:])


@pytest.mark.parametrize("modality", MODALITIES)
def test_scan_is_whole_numbers_and_zero_exactly_outside_the_brain(modality: str) -> None:
    grid = resolve_grid((24, 24, 24))
    rng = np.random.default_rng(0)
    brain = rng.random(grid.size) < 0.5
    ideal = rng.uniform(0, 1.5, grid.size).astype(np.float32)
    scan = acquire(rng, modality, grid, ideal=ideal, brain=brain)
    assert scan.dtype == np.float32
    assert np.array_equal(scan > 0, brain)
    assert np.array_equal(scan, np.rint(scan))
    assert scan.max() < np.iinfo(np.int16).max


def test_scan_keeps_the_order_of_tissues() -> None:
    grid = resolve_grid((24, 24, 24))
    ideal = np.full(grid.size, 0.3, np.float32)
    ideal[8:16] = 1.0
    for seed in range(5):
        scan = acquire(np.random.default_rng(seed), "T1", grid, ideal=ideal, brain=ideal > 0)
        assert np.median(scan[10:14]) > 2 * np.median(scan[:6])
