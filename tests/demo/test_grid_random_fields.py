"""Gaussian random fields: mean, variance and correlation length are the ones asked for."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.demo.grid import gaussian_random_field


@pytest.mark.parametrize("sigma", [(1.0, 1.0, 1.0), (3.0, 4.0, 5.0), (1.0, 6.0, 6.0)])
def test_field_has_mean_zero_and_variance_one(sigma: tuple[float, float, float]) -> None:
    field = gaussian_random_field(np.random.default_rng(0), (30, 32, 34), sigma_voxels=sigma)
    assert field.dtype == np.float32
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("sigma", [1.2, 3.0, 6.0])
def test_correlation_falls_off_over_the_length_asked_for(sigma: float) -> None:
    # White noise smoothed by a Gaussian of s has correlation exp(-d^2 / 4 s^2); the lattice's bumps are 0.8 s wide.
    distance = round(1.5 * sigma)
    rng = np.random.default_rng(1)
    measured = []
    for _ in range(8):
        field = gaussian_random_field(rng, (48, 48, 48), sigma_voxels=(sigma,) * 3)
        measured.append((field[distance:] * field[:-distance]).mean())
    wide = np.exp(-(distance**2) / (4 * sigma**2))
    narrow = np.exp(-(distance**2) / (4 * (0.8 * sigma) ** 2))
    assert narrow - 0.1 < np.mean(measured) < wide + 0.1


def test_variance_does_not_fade_at_the_faces() -> None:
    rng = np.random.default_rng(2)
    fields = np.stack([gaussian_random_field(rng, (24, 24, 24), sigma_voxels=(4, 4, 4)) for _ in range(60)])
    spread = fields.std(0)
    assert spread[0].mean() == pytest.approx(spread[11:13].mean(), rel=0.25)


@pytest.mark.parametrize("sigma", [(1, 1), (1, 1, 0), (1, -1, 1)])
def test_length_that_is_not_positive_is_refused(sigma: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="positive length per axis"):
        gaussian_random_field(np.random.default_rng(0), (8, 8, 8), sigma_voxels=sigma)
