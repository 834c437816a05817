from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.evaluation.modality_gap import Latents, modality_gap
from nnunet_missingmod.evaluation.report import figures as module
from nnunet_missingmod.evaluation.report.figures import embed, latent_plot


def make_latents(shift, voxels=60, channels=5, modalities=("FLAIR", "T1", "T2")):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(modalities), voxels, channels))
    return Latents(values + shift * rng.normal(size=(len(modalities), 1, channels)), modalities, np.arange(voxels) % 4)


def separation(points):
    """Return how much farther modalities' centres lie apart than points from their own centre."""
    centres = points.mean(axis=1)
    return np.linalg.norm(centres - centres.mean(axis=0), axis=-1).mean() / points.std(axis=1).mean()


def test_modalities_that_lie_apart_are_drawn_apart():
    apart, together = (embed(make_latents(shift)) for shift in (20.0, 0.0))
    assert apart.shape == (3, 60, 2)
    assert separation(apart) > 5 * separation(together)


@pytest.mark.parametrize("channels", [1, 5])
def test_small_latents_are_embedded_like_large_ones(channels):
    latents = make_latents(20.0, channels=channels)
    small = Latents(1e-12 * latents.values, latents.modalities, latents.cases)
    assert np.isfinite(embed(small)).all()
    assert separation(embed(small)) > 2


def test_collapsed_latents_are_one_point():
    values = np.repeat(np.arange(5.0)[None, None], 3, axis=0).repeat(10, axis=1)
    assert not embed(Latents(values, ("FLAIR", "T1", "T2"), np.arange(10))).any()


def test_a_panel_per_model_shows_a_sample_of_voxels_and_the_numbers_of_all(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(module, "save_png", lambda figure, path: drawn.append(figure))
    latents = {"without": make_latents(3.0), "with": make_latents(0.0)}
    latent_plot(latents, tmp_path / "l.png", voxels=20)
    for axes, (model, of_model) in zip(drawn[0].axes, latents.items(), strict=True):
        gap = modality_gap(of_model)
        assert axes.get_title() == model
        assert f"modality {gap.explained_variance:.2f}" in axes.get_xlabel()
        assert f"elsewhere {gap.paired_distance:.2f}" in axes.get_xlabel()
        assert f"probe {100 * gap.probe_accuracy:.0f} % (chance 33 %)" in axes.get_xlabel()
        assert [len(points.get_offsets()) for points in axes.collections[:3]] == [20, 20, 20]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["FLAIR", "T1", "T2"]


def test_the_same_latents_give_the_same_file(tmp_path):
    for name in ("a.png", "b.png"):
        latent_plot({"m": make_latents(1.0, voxels=20)}, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_models_that_cannot_stand_side_by_side_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no latents"):
        latent_plot({}, tmp_path / "l.png")
    latents = {"a": make_latents(0.0), "b": make_latents(0.0, modalities=("CT", "PET"))}
    with pytest.raises(ValueError, match="'CT', 'PET'"):
        latent_plot(latents, tmp_path / "l.png")
