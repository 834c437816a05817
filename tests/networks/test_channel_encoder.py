from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from nnunet_missingmod.network_choices import ABSENT_FILLS, LATENT_ENCODERS
from nnunet_missingmod.networks.branches import find_pairs
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder

PRESENT = torch.tensor([[True, False, True], [False, False, True]])


def make(kind: str, *, width: int = 2, fill: str = "zero", conv_op: type[nn.Module] = nn.Conv2d) -> ChannelEncoder:
    encoder = ChannelEncoder(3, kind, width=1 if kind == "none" else width, conv_op=conv_op, absent_fill=fill)
    if encoder.absent_latent is not None:
        nn.init.normal_(encoder.absent_latent)
    return encoder.double()


def images(dimensions: int = 2) -> torch.Tensor:
    batch = torch.randn(2, 3, *[6] * dimensions, dtype=torch.float64)
    batch[~PRESENT] = float("nan")
    return batch


@pytest.mark.parametrize("fill", ABSENT_FILLS)
@pytest.mark.parametrize("kind", LATENT_ENCODERS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_latents_equal_a_loop_over_samples_and_modalities(dimensions: int, kind: str, fill: str) -> None:
    convolve = {2: functional.conv2d, 3: functional.conv3d}[dimensions]
    encoder = make(kind, fill=fill, conv_op={2: nn.Conv2d, 3: nn.Conv3d}[dimensions])
    batch = images(dimensions)
    latents = encoder(batch, PRESENT)
    channels = {"none": 1, "separate": 2, "shared": 6}[kind]
    assert encoder.out_channels == channels
    assert latents.shape == (2, 3, channels, *batch.shape[2:])
    for b in range(2):
        for j in range(3):
            if not PRESENT[b, j]:
                for c in range(channels):
                    constant = encoder.absent_latent[j, c] if fill == "learned" else 0.0
                    assert (latents[b, j, c] == constant).all()
                continue
            image = batch[b, j][None, None]
            if kind == "shared":
                image = convolve(image, encoder.conv.weight, encoder.conv.bias, padding=1)
            elif kind == "separate":
                rows = slice(2 * j, 2 * j + 2)
                image = convolve(image, encoder.conv.weight[rows], encoder.conv.bias[rows], padding=1)
            torch.testing.assert_close(latents[b, j], image[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", LATENT_ENCODERS)
def test_content_of_absent_channels_changes_nothing(kind: str) -> None:
    encoder = make(kind, fill="learned")
    marked = images()
    other = torch.where(PRESENT[..., None, None], marked, 1e30)
    assert torch.equal(encoder(marked, PRESENT), encoder(other, PRESENT))


def test_kernel_size_may_differ_between_axes() -> None:
    encoder = ChannelEncoder(2, "shared", kernel_size=(1, 3, 3), conv_op=nn.Conv3d)
    assert encoder.conv.weight.shape == (2, 1, 1, 3, 3)
    assert encoder(torch.zeros(1, 2, 4, 5, 6), torch.ones(1, 2, dtype=torch.bool)).shape == (1, 2, 2, 4, 5, 6)


def test_absent_modality_gives_its_encoder_no_gradient() -> None:
    encoder = make("separate")
    present = torch.tensor([[True, False, True]] * 2)
    batch = torch.where(present[..., None, None], torch.randn(2, 3, 6, 6, dtype=torch.float64), float("nan"))
    encoder(batch, present).square().sum().backward()
    per_modality = encoder.conv.weight.grad.reshape(3, -1)
    assert (per_modality[1] == 0).all()
    assert (encoder.conv.bias.grad.reshape(3, -1)[1] == 0).all()
    assert (per_modality[[0, 2]] != 0).all()


def test_learned_fill_gets_its_gradient_from_absent_modalities_only() -> None:
    encoder = make("shared", fill="learned")
    present = torch.tensor([[True, False, True]] * 2)
    encoder(images(), present).sum().backward()
    expected = torch.zeros(3, 6, dtype=torch.float64)
    expected[1] = 2 * 6 * 6  # samples times pixels
    assert torch.equal(encoder.absent_latent.grad, expected)


@pytest.mark.parametrize("fill", ABSENT_FILLS)
@pytest.mark.parametrize("kind", LATENT_ENCODERS)
def test_absent_images_get_no_gradient_and_no_gradient_is_nan(kind: str, fill: str) -> None:
    encoder = make(kind, fill=fill)
    batch = images().requires_grad_()
    encoder(batch, PRESENT).square().sum().backward()
    assert (batch.grad[~PRESENT] == 0).all()
    assert (batch.grad[PRESENT] != 0).any()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("kind", ["separate", "shared"])
def test_gradient_is_that_of_finite_differences(kind: str) -> None:
    encoder = make(kind, width=1, fill="learned")
    batch = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    names = [name for name, _ in encoder.named_parameters()]

    def run(*values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(encoder, dict(zip(names, values, strict=True)), (batch, PRESENT))

    assert torch.autograd.gradcheck(run, tuple(encoder.parameters()))


def test_latents_keep_half_precision() -> None:
    encoder = ChannelEncoder(3, "shared", conv_op=nn.Conv2d, absent_fill="learned")
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder(images().float(), PRESENT).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "offender"),
    [
        ({"kind": "common"}, "common"),
        ({"kind": "shared", "width": 0}, "0"),
        ({"kind": "none", "width": 2}, "2"),
        ({"kind": "shared", "kernel_size": 4}, "4"),
        ({"kind": "shared", "kernel_size": (1, 2, 3)}, "2"),
        ({"kind": "shared", "absent_fill": "mean"}, "mean"),
        ({"kind": "shared", "num_modalities": 0}, "0"),
    ],
)
def test_wrong_options_are_refused_by_value(options: dict[str, object], offender: str) -> None:
    with pytest.raises(ValueError, match=offender):
        ChannelEncoder(**{"num_modalities": 3, **options})


@pytest.mark.parametrize("kind", LATENT_ENCODERS)
def test_pairs_alone_are_encoded_as_among_all(kind: str) -> None:
    encoder = make(kind)
    batch = images()
    pairs = find_pairs(PRESENT, torch.device("cpu"))
    torch.testing.assert_close(pairs.scatter(encoder.encode_pairs(batch, pairs)), encoder(batch, PRESENT))


@pytest.mark.parametrize("kind", LATENT_ENCODERS)
def test_a_pair_that_stands_in_is_finite(kind: str) -> None:
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    pairs = find_pairs(nothing, torch.device("cpu"))
    rows = make(kind).encode_pairs(torch.full((2, 3, 6, 6), float("nan"), dtype=torch.float64), pairs)
    assert rows.shape[0] == 1
    assert rows.isfinite().all()
