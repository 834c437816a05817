"""Latents are those of each modality alone, at the same voxels, of complete cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_missingmod.benchmarking.cases import EvaluationCase
from nnunet_missingmod.benchmarking.latents import model_latents, patch_latents
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder

CPU = torch.device("cpu")


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(("T1", "T2", "T3"), num_cases=3)


def cases_of(tiny):
    return [
        EvaluationCase(case, {channel: tiny.image(case, channel) for channel in range(3)}, tiny.label(case))
        for case in tiny.cases
    ]


@pytest.mark.parametrize(
    ("trainer", "configuration", "channels"),
    [
        ("nnUNetTrainerMedMAP", "3d_fullres", 3),  # the shared channel encoder's width
        ("nnUNetTrainerRDL", "3d_fullres", 4),  # the first stage's
        ("nnUNetTrainer", "3d_fullres", 4),
        ("nnUNetTrainer", "2d", 4),
    ],
)
def test_latents_of_every_modality_at_the_same_voxels(tiny, make_model, trainer, configuration, channels):
    model = open_model_folder(make_model(tiny, trainer, configuration=configuration))
    latents = model_latents(model, cases_of(tiny), device=CPU, most_cases=2, voxels_per_case=50)
    assert latents.values.shape == (3, 100, channels)
    assert latents.modalities == ("T1", "T2", "T3")
    assert list(np.unique(latents.cases, return_counts=True)[1]) == [50, 50]
    assert not np.allclose(latents.values[0], latents.values[1])
    again = model_latents(model, cases_of(tiny), device=CPU, most_cases=2, voxels_per_case=50)
    np.testing.assert_array_equal(latents.values, again.values)


def test_a_latent_depends_on_its_own_modality_alone(tiny, make_model):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from nnunet_missingmod.inference.model_folder import load_predictor

    for trainer in ("nnUNetTrainerMedMAP", "nnUNetTrainerRDL", "nnUNetTrainer"):
        model = open_model_folder(make_model(tiny, trainer))
        network = load_predictor(model, device=CPU, kind=nnUNetPredictor).network.eval()
        patch = torch.randn(1, 3, 16, 16, 16)
        other = patch.clone()
        other[:, 1] = torch.randn(16, 16, 16)
        with torch.no_grad():
            one, two = (patch_latents(network, each, 3) for each in (patch, other))
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[2], two[2])
        assert not torch.equal(one[1], two[1])


def test_the_channel_encoders_output_is_taken_where_there_is_one(tiny, make_model):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from nnunet_missingmod.inference.model_folder import load_predictor

    model = open_model_folder(make_model(tiny, "nnUNetTrainerMedMAP"))
    network = load_predictor(model, device=CPU, kind=nnUNetPredictor).network.eval()
    assert isinstance(network.channel_encoder, ChannelEncoder)
    patch = torch.randn(1, 3, 16, 16, 16)
    with torch.no_grad():
        expected = network.channel_encoder(patch, torch.ones(1, 3, dtype=torch.bool))[0]
        assert torch.equal(patch_latents(network, patch, 3), expected)


def test_incomplete_cases_have_no_part(tiny, make_model):
    cases = cases_of(tiny)
    del cases[0].files[1]
    model = open_model_folder(make_model(tiny, "nnUNetTrainer"))
    latents = model_latents(model, cases, device=CPU, most_cases=9, voxels_per_case=20)
    assert latents.values.shape[1] == 40
    assert model_latents(model, cases[:1], device=CPU, most_cases=9) is None


def test_a_network_that_nnunet_compiles_has_the_same_latents(tiny, make_model, monkeypatch):
    model = open_model_folder(make_model(tiny, "nnUNetTrainerMedMAP"))

    def latents():
        return model_latents(model, cases_of(tiny), device=CPU, most_cases=1, voxels_per_case=20)

    expected = latents()
    monkeypatch.setenv("nnUNet_compile", "true")
    np.testing.assert_array_equal(latents().values, expected.values)
