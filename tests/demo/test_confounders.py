"""Confounders: opacities in 0..1, off the tumour where they must be, present in some cases and not in others."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.demo.anatomy import Anatomy, build_anatomy, load_template, sample_pose
from nnunet_missingmod.demo.confounders import Confounders, sample_confounders
from nnunet_missingmod.demo.grid import resolve_grid
from nnunet_missingmod.demo.tumour import ED, ET

GRID = resolve_grid((32, 36, 32))
LABELS = np.zeros(GRID.size, np.uint8)
LABELS[8:16, 10:20, 14:22] = ED
LABELS[10:14, 12:18, 16:20] = ET


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    rng = np.random.default_rng(0)
    position = sample_pose(rng, GRID).to_template_mm(GRID.points_mm(), load_template())
    return build_anatomy(rng, GRID, template_mm=position, displaced_template_mm=position)


@pytest.fixture(scope="module")
def draws(anatomy: Anatomy) -> list[Confounders]:
    depth = GRID.depth_mm(anatomy.brain)
    return [
        sample_confounders(np.random.default_rng(seed), GRID, anatomy=anatomy, labels=LABELS, depth_mm=depth)
        for seed in range(12)
    ]


def test_opacities_lie_between_zero_and_one(draws: list[Confounders]) -> None:
    for draw in draws:
        for opacity in (draw.white_matter_lesions, draw.vessels, draw.cysts):
            assert opacity.dtype == np.float32
            assert opacity.min() >= 0
            assert opacity.max() <= 1


def test_lesions_and_cysts_spare_tumour_and_background(draws: list[Confounders], anatomy: Anatomy) -> None:
    elsewhere = (LABELS > 0) | ~anatomy.brain
    for draw in draws:
        assert not draw.white_matter_lesions[elsewhere].any()
        assert not draw.cysts[elsewhere].any()


def test_vessels_are_in_every_case_and_cysts_in_some(draws: list[Confounders], anatomy: Anatomy) -> None:
    assert all((draw.vessels[anatomy.brain] > 0.5).any() for draw in draws)
    assert 0 < sum(bool(draw.cysts.any()) for draw in draws) < len(draws)
    assert any((draw.white_matter_lesions > 0.5).any() for draw in draws)
