"""Contrast: complete tables, bounds on what a subject may look like, and layers painted by their opacity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnunet_missingmod.demo.anatomy import Anatomy
from nnunet_missingmod.demo.confounders import Confounders
from nnunet_missingmod.demo.contrast import (
    AT_LEAST,
    CONTRAST,
    CORE_FLUID,
    CYST_FLUID,
    ENHANCING_OVER_WHITE,
    LESION_OPACITY,
    MISMATCH_FLAIR,
    MODALITIES,
    VESSEL_OPACITY,
    TumourTissue,
    render,
    sample_means,
)
from nnunet_missingmod.demo.grid import resolve_grid

GRID = resolve_grid((24, 24, 24))
ZERO, ONE = np.zeros(GRID.size, np.float32), np.ones(GRID.size, np.float32)
WHITE = Anatomy(ZERO, ZERO, ONE, ZERO, ZERO, ONE > 0, np.zeros((3, *GRID.size), np.float32))
NO_TUMOUR = TumourTissue(False, False, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)
NO_CONFOUNDERS = Confounders(ZERO, ZERO, ZERO)


def _mean(modality: str, tumour: TumourTissue = NO_TUMOUR, confounders: Confounders = NO_CONFOUNDERS) -> float:
    rng = np.random.default_rng(5)
    return float(render(rng, modality, GRID, anatomy=WHITE, tumour=tumour, confounders=confounders).mean())


def test_every_modality_has_every_tissue() -> None:
    assert set(CONTRAST) == set(CORE_FLUID) == set(CYST_FLUID) == set(LESION_OPACITY) == set(VESSEL_OPACITY)
    assert tuple(CONTRAST) == MODALITIES == ("FLAIR", "T1", "T1ce", "T2")
    assert len({tuple(table) for table in CONTRAST.values()}) == 1
    assert all(tissue in CONTRAST[modality] for modality, bounds in AT_LEAST.items() for tissue in bounds)


def test_means_stay_within_their_bounds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        for modality, bounds in AT_LEAST.items():
            means = sample_means(rng, modality)
            assert all(means[tissue] >= bound for tissue, bound in bounds.items())
        means = sample_means(rng, "T1ce")
        assert means["enhancing"] >= means["white"] + ENHANCING_OVER_WHITE


def test_mismatch_darkens_the_core_in_flair_only() -> None:
    for modality in MODALITIES:
        plain = sample_means(np.random.default_rng(1), modality)
        other = sample_means(np.random.default_rng(1), modality, mismatch=True)
        changed = {tissue for tissue in plain if plain[tissue] != other[tissue]}
        assert changed == ({"non_enhancing"} if modality == "FLAIR" else set())
    assert sample_means(np.random.default_rng(1), "FLAIR", mismatch=True)["non_enhancing"] == MISMATCH_FLAIR


def test_unknown_modality_is_refused() -> None:
    with pytest.raises(ValueError, match="T1gd"):
        sample_means(np.random.default_rng(0), "T1gd")


@pytest.mark.parametrize("modality", MODALITIES)
def test_pure_tissue_has_its_own_mean(modality: str) -> None:
    means = sample_means(np.random.default_rng(5), modality)
    assert _mean(modality) == pytest.approx(means["white"], rel=5e-3)
    assert _mean(modality, replace(NO_TUMOUR, oedema=ONE)) == pytest.approx(means["oedema"], rel=5e-3)
    assert _mean(modality, replace(NO_TUMOUR, core=ONE)) == pytest.approx(means["necrotic"], rel=5e-3)
    assert _mean(modality, replace(NO_TUMOUR, core=ONE, low_grade=True)) == pytest.approx(
        means["non_enhancing"], rel=5e-3
    )
    assert _mean(modality, replace(NO_TUMOUR, enhancing=ONE)) == pytest.approx(means["enhancing"], rel=1e-2)


@pytest.mark.parametrize("modality", MODALITIES)
def test_layer_is_painted_by_its_opacity(modality: str) -> None:
    means = sample_means(np.random.default_rng(5), modality)
    half = replace(NO_TUMOUR, oedema=0.5 * ONE)
    assert _mean(modality, half) == pytest.approx((means["white"] + means["oedema"]) / 2, rel=5e-3)
    opacity = VESSEL_OPACITY[modality]
    expected = (1 - opacity) * means["white"] + opacity * means["vessel"]
    assert _mean(modality, confounders=replace(NO_CONFOUNDERS, vessels=ONE)) == pytest.approx(expected, rel=5e-3)
    opacity = LESION_OPACITY[modality]
    expected = (1 - opacity) * means["white"] + opacity * means["lesion"]
    lesions = replace(NO_CONFOUNDERS, white_matter_lesions=ONE)
    assert _mean(modality, confounders=lesions) == pytest.approx(expected, rel=5e-3)
