"""The network of the choices, around the plans' backbone."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_missingmod.network_choices import ENCODERS
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork
from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.training.building import build_network


def build(tiny, block, own=None, *, configuration="3d_fullres", extra=0, deep_supervision=True):
    plans = PlansManager(tiny.plans)
    return build_network(
        resolve(block, own),
        plans,
        plans.get_configuration(configuration),
        num_input_channels=len(tiny.dataset_json["channel_names"]) + extra,
        num_output_channels=4,
        deep_supervision=deep_supervision,
    )


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres", "3d_resenc"])
@pytest.mark.parametrize("network", ["early", "parallel"])
@pytest.mark.parametrize(("encoder", "width"), [("none", 1), ("separate", 3), ("shared", 2)])
def test_every_kind_takes_modalities_and_what_follows_them(make_tiny_dataset, configuration, network, encoder, width):
    tiny = make_tiny_dataset()
    block = {"network": network, "channel_encoder": encoder, "channel_encoder_width": width}
    built = build(tiny, block, configuration=configuration, extra=2).eval()
    assert isinstance(built, {"early": EarlyFusionNetwork, "parallel": ParallelNetwork}[network])
    assert (built.channel_encoder.kind, built.num_modalities) == (encoder, 4)
    spatial = (16,) * (2 if configuration == "2d" else 3)
    x = torch.randn(1, 6, *spatial)
    x[0, 2] = float("nan")
    with torch.no_grad():
        outputs = built(x)
    assert outputs[0].shape == (1, 4, *spatial)
    assert torch.isfinite(outputs[0]).all()


def test_options_arrive(make_tiny_dataset):
    tiny = make_tiny_dataset()
    early = build(tiny, {"absent_fill": "learned", "presence_conditioning": True}, deep_supervision=False)
    assert early.channel_encoder.absent_latent is not None
    assert early.condition is not None
    assert early.decoder.deep_supervision is False
    parallel = build(tiny, {"network": "parallel", "fused_at": "features", "feature_fusion": "attention"})
    assert isinstance(parallel, ModalityEncoderNetwork)
    assert parallel.fusions[0].compare.in_channels == 16
    slim = build(tiny, {"network": "modality_encoders", "encoders": "slim", "feature_fusion": "concatenate"})
    assert len(slim.encoder.encoders) == 4
    assert [4 * width for width in slim.encoder.branch_channels] == list(slim.encoder.output_channels)
    assert not any(name.startswith("backbone.decoder.encoder") for name in slim.state_dict())


@pytest.mark.parametrize("encoders", ENCODERS)
def test_the_parallel_network_fused_at_features_has_one_shared_encoder_whatever_the_trainer_says(
    make_tiny_dataset, encoders
):
    own = {"network": "modality_encoders", "encoders": encoders, "feature_fusion": "moments"}
    tiny = make_tiny_dataset()
    built = build(tiny, {"network": "parallel", "fused_at": "features"}, own)
    alike = build(tiny, {"network": "modality_encoders", "feature_fusion": "moments"})
    assert built.encoders == "shared"
    assert {name: value.shape for name, value in built.state_dict().items()} == {
        name: value.shape for name, value in alike.state_dict().items()
    }


def test_the_channel_encoder_has_the_kernel_of_the_first_stage(make_tiny_dataset):
    tiny = make_tiny_dataset()
    kernels = tiny.plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    kernels["kernel_sizes"] = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
    assert build(tiny, {"channel_encoder": "shared"}).channel_encoder.conv.kernel_size == (1, 3, 3)


def test_one_modality_without_encoder_is_the_plain_backbone(make_tiny_dataset):
    tiny = make_tiny_dataset(names=["CT"])
    network = build(tiny, {"network": "parallel"})
    x = torch.randn(2, 1, 16, 16, 16)
    for ours, theirs in zip(network(x), build(tiny, {}).backbone(x), strict=True):
        assert ours.shape == theirs.shape
    plain = build(tiny, {})
    plain.load_state_dict(
        {name: value.reshape(plain.state_dict()[name].shape) for name, value in network.state_dict().items()}
    )
    for ours, theirs in zip(network(x), plain.backbone(x), strict=True):
        assert torch.equal(ours, theirs)


def test_a_network_without_the_two_halves_is_refused(make_tiny_dataset, monkeypatch):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    monkeypatch.setattr(nnUNetTrainer, "build_network_architecture", staticmethod(lambda *_: torch.nn.Identity()))
    with pytest.raises(ValueError, match="Identity has no encoder and decoder"):
        build(make_tiny_dataset(), {})
