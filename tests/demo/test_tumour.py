"""Tumour: choice of voxels, mass effect, and labels with the parts in their places."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from nnunet_missingmod.demo.grid import resolve_grid
from nnunet_missingmod.demo.phantom import PhantomCase, generate_case
from nnunet_missingmod.demo.tumour import ED, ET, NCR, TumourPlan, cheapest, choose_voxel, mass_effect_mm

GRID = resolve_grid((32, 36, 32))


@pytest.fixture(scope="module")
def cases() -> list[PhantomCase]:
    return [generate_case(seed, size=(40, 48, 40)) for seed in range(12)]


def test_cheapest_matches_a_sorted_list() -> None:
    rng = np.random.default_rng(0)
    cost, allowed = rng.random((6, 6, 6), dtype=np.float32), rng.random((6, 6, 6)) < 0.5
    expected = sorted(cost[allowed])[:17]
    chosen = cheapest(cost, allowed, 17.9)
    assert sorted(cost[chosen]) == pytest.approx(expected)
    assert (chosen <= allowed).all()


@pytest.mark.parametrize(("voxels", "count"), [(-3, 1), (0, 1), (1e9, 8)])
def test_cheapest_takes_at_least_one_and_at_most_all(voxels: float, count: int) -> None:
    cost = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert cheapest(cost, np.ones((2, 2, 2), bool), voxels).sum() == count


def test_cheapest_of_nothing_is_nothing() -> None:
    assert not cheapest(np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), bool), 3).any()


def test_every_voxel_of_a_mask_is_chosen_equally_often() -> None:
    mask = np.zeros((2, 2, 2), bool)
    mask[0] = True
    rng = np.random.default_rng(0)
    counts = np.zeros(mask.shape)
    for _ in range(2000):
        counts[choose_voxel(rng, mask)] += 1
    assert counts[1].sum() == 0
    assert counts[0] == pytest.approx(np.full((2, 2), 500), abs=5 * np.sqrt(2000 * 0.25 * 0.75))


def test_choice_survives_a_voxel_that_rounding_moved() -> None:
    mask = np.random.default_rng(0).random((20, 20, 20)) < 0.1
    moved = mask.copy()
    moved[tuple(np.argwhere(mask)[0])] = False
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    assert choose_voxel(first, mask) == choose_voxel(second, moved)
    assert first.random() == second.random()


def test_choice_from_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="larger size"):
        choose_voxel(np.random.default_rng(0), np.zeros((2, 2, 2), bool))


def test_mass_effect_points_outward_and_is_strongest_at_the_rim() -> None:
    plan = TumourPlan("ring", (16, 18, 16), whole_share=0.06, core_share=0.4, core_radius_mm=20.0, push_mm=8.0)
    push = mass_effect_mm(plan, GRID)
    offset = GRID.offsets_mm(plan.centre)
    assert ((push * offset).sum(0) >= 0).all()
    strength, distance = np.sqrt((push**2).sum(0)), GRID.ball_mm(plan.centre)
    assert strength.max() <= 8.0 + 1e-4
    rim = np.abs(distance - 20) < 3
    assert strength[rim].min() > strength[distance < 8].max()
    assert strength[rim].min() > strength[distance > 50].max()
    # Closed form 1.4 radii beyond the rim: one e-fold.
    far = np.unravel_index(int(np.argmin(np.abs(distance - 48))), distance.shape)
    assert strength[far] == pytest.approx(8 * np.exp(-(distance[far] - 20) / 28), rel=1e-3)


def test_every_case_has_core_and_oedema_at_demo_size(cases: list[PhantomCase]) -> None:
    counts = np.array([np.bincount(case.labels.ravel(), minlength=4) for case in cases])
    assert (counts[:, ED] >= 20).all()
    assert (counts[:, NCR] + counts[:, ET] >= 10).all()
    share = counts[:, 1:].sum(1) / [(case.images["T1"] > 0).sum() for case in cases]
    assert 0.04 < share.mean() < 0.10
    assert (share < 0.2).all()


def test_most_tumours_enhance_and_some_do_not(cases: list[PhantomCase]) -> None:
    enhancing = [(case.labels == ET).any() for case in cases]
    assert 0.5 <= np.mean(enhancing) < 1


def test_enhancing_rim_separates_necrosis_from_oedema(cases: list[PhantomCase]) -> None:
    rings = [case.labels for case in cases if "ring" in case.description]
    assert rings
    rim, inside = [], []
    for labels in rings:
        outside = ndimage.binary_dilation((labels == ED) | (labels == 0))
        rim.append((outside & (labels == ET)).sum() / max((labels == ET).sum(), 1))
        inside.append((outside & (labels == NCR)).sum() / max((labels == NCR).sum(), 1))
    assert np.mean(rim) > np.mean(inside) + 0.2


def test_core_and_oedema_touch(cases: list[PhantomCase]) -> None:
    for case in cases:
        core = (case.labels == NCR) | (case.labels == ET)
        assert (ndimage.binary_dilation(core) & (case.labels == ED)).any()
