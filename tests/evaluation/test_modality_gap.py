from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from nnunet_missingmod.evaluation.modality_gap import Latents, ModalityGap, modality_gap


def make_latents(seed=0, modalities=3, voxels=200, channels=4, shift=1.0, noise=0.5, common=1.0, cases=8):
    """Latents that share a part per voxel, with noise and a shift of their own per modality."""
    rng = np.random.default_rng(seed)
    values = common * rng.normal(size=(1, voxels, channels)) + noise * rng.normal(size=(modalities, voxels, channels))
    values += shift * rng.normal(size=(modalities, 1, channels))
    return Latents(values, tuple("ABCDEF"[:modalities]), np.arange(voxels) % cases)


def numbers(gap: ModalityGap) -> list[float]:
    return [gap.explained_variance, gap.paired_distance, gap.centroid_distance, gap.probe_accuracy]


def gap_by_loops(values):
    """The first three numbers, from their definitions, with a loop over everything."""
    modalities, voxels, _ = values.shape
    means = [np.mean(values[j], axis=0) for j in range(modalities)]
    centre = np.mean(means, axis=0)
    within_and_between = np.mean(
        [np.sum((values[j, v] - centre) ** 2) for j in range(modalities) for v in range(voxels)]
    )
    explained = np.mean([np.sum((mean - centre) ** 2) for mean in means]) / within_and_between
    pairs = list(combinations(range(modalities), 2))
    paired = np.mean([np.sum((values[j, v] - values[k, v]) ** 2) for j, k in pairs for v in range(voxels)])
    anywhere = np.mean(
        [np.sum((values[j, v] - values[k, u]) ** 2) for j, k in pairs for v in range(voxels) for u in range(voxels)]
    )
    units = [
        np.mean([(values[j, v] - centre) / np.linalg.norm(values[j, v] - centre) for v in range(voxels)], axis=0)
        for j in range(modalities)
    ]
    apart = np.mean([np.linalg.norm(units[j] - units[k]) for j, k in pairs])
    return [explained, paired / anywhere, apart]


@pytest.mark.parametrize("channels", [1, 4])
def test_numbers_equal_their_definitions_by_loops(channels):
    latents = make_latents(voxels=25, channels=channels)
    assert numbers(modality_gap(latents))[:3] == pytest.approx(gap_by_loops(latents.values))


def test_two_points_per_modality_give_the_numbers_worked_out_by_hand():
    # Modality A at -1 and 1 about (0, 0), B at the same about (0, 2): the mean is (0, 1).
    values = np.array([[[-1.0, 0.0], [1.0, 0.0]], [[-1.0, 2.0], [1.0, 2.0]]])
    gap = modality_gap(Latents(values, ("A", "B"), np.array([0, 1])))
    assert gap.explained_variance == pytest.approx(0.5)  # 1 between, 1 within
    assert gap.paired_distance == pytest.approx(4 / 6)  # 2^2 at a voxel; 4, 4, 8 and 8 over all pairs
    assert gap.centroid_distance == pytest.approx(math.sqrt(2))  # unit vectors (-+1, -+1) / sqrt(2)
    assert gap.chance == 0.5


def test_coinciding_latents_have_no_gap_and_separate_points_all_of_it():
    same = np.repeat(np.random.default_rng(0).normal(size=(1, 400, 3)), 4, axis=0)
    aligned = modality_gap(Latents(same, tuple("ABCD"), np.arange(400) % 10))
    assert numbers(aligned)[:3] == pytest.approx([0, 0, 0], abs=1e-12)
    assert aligned.probe_accuracy == pytest.approx(aligned.chance, abs=1e-9)
    apart = modality_gap(make_latents(modalities=4, shift=50.0, noise=0.1, common=0.1))
    assert apart.explained_variance > 0.99
    assert apart.paired_distance == pytest.approx(1.0, abs=0.01)
    assert apart.centroid_distance > 1
    assert apart.probe_accuracy == 1.0


def test_modalities_with_one_mean_but_unrelated_voxels_are_no_more_than_mixed():
    gap = modality_gap(make_latents(shift=0.0, noise=1.0, common=0.0, voxels=4000))
    assert gap.explained_variance == pytest.approx(0, abs=0.005)
    assert gap.paired_distance == pytest.approx(1, abs=0.03)
    assert gap.probe_accuracy == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("scale", [1e-14, 1e-2, 1e4])
def test_shrinking_shifting_or_turning_all_latents_changes_nothing(scale):
    latents = make_latents()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    moved = Latents(scale * (latents.values @ turn + 3.0), latents.modalities, latents.cases)
    assert numbers(modality_gap(moved)) == pytest.approx(numbers(modality_gap(latents)), rel=1e-6)


def test_every_number_grows_with_the_shift_between_modalities():
    found = np.array([numbers(modality_gap(make_latents(shift=shift))) for shift in (0.0, 0.3, 1.0, 5.0)])
    assert (np.diff(found, axis=0) > 0).all()


def test_the_order_of_modalities_and_voxels_does_not_matter():
    latents = make_latents(cases=4)
    order = np.random.default_rng(3).permutation(200)
    shuffled = Latents(latents.values[::-1, order], latents.modalities[::-1], latents.cases[order])
    assert numbers(modality_gap(shuffled)) == pytest.approx(numbers(modality_gap(latents)))


def test_the_probe_is_tested_on_cases_it_has_not_seen():
    """Latents that tell modalities apart within each case only leave a probe of other cases at chance."""
    rng = np.random.default_rng(0)
    cases = np.repeat(np.arange(40), 20)
    of_case = rng.normal(size=(3, 40, 50))[:, cases]
    latents = Latents(of_case + 0.01 * rng.normal(size=(3, 800, 50)), tuple("ABC"), cases)
    assert modality_gap(latents).probe_accuracy < 0.55
    mixed = Latents(latents.values, latents.modalities, np.arange(800) % 40)
    assert modality_gap(mixed).probe_accuracy > 0.65


def test_what_cannot_be_measured_is_undefined():
    one_case = make_latents(cases=1)
    assert math.isnan(modality_gap(one_case).probe_accuracy)
    assert not math.isnan(modality_gap(one_case).explained_variance)
    constant = modality_gap(Latents(np.full((2, 5, 3), 0.1), ("A", "B"), np.arange(5)))
    assert all(map(math.isnan, numbers(constant)))


def test_a_sample_keeps_voxels_together_and_follows_its_seed():
    latents = make_latents()
    sample = latents.sample(30, seed=1)
    assert sample.values.shape == (3, 30, 4)
    positions = [np.flatnonzero((latents.values[0] == voxel).all(axis=1))[0] for voxel in sample.values[0]]
    np.testing.assert_array_equal(sample.values, latents.values[:, positions])
    np.testing.assert_array_equal(sample.cases, latents.cases[positions])
    np.testing.assert_array_equal(latents.sample(30, seed=1).values, sample.values)
    assert (latents.sample(30, seed=2).values != sample.values).any()
    assert latents.sample(200) is latents


def test_latents_that_do_not_fit_together_are_refused():
    values = np.zeros((2, 5, 3))
    with pytest.raises(ValueError, match=r"\(2, 5, 3\) for 3 modalities"):
        Latents(values, ("A", "B", "C"), np.arange(5))
    with pytest.raises(ValueError, match=r"\(4,\) cases"):
        Latents(values, ("A", "B"), np.arange(4))
    with pytest.raises(ValueError, match="two modalities and two voxels, got 1 and 5"):
        Latents(values[:1], ("A",), np.arange(5))
    values[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        Latents(values, ("A", "B"), np.arange(5))
