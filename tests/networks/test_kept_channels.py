"""Predictions leave out the zeros of modalities that are not kept, and are the same without that."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.kept_channels import KeptConv2d, KeptConv3d
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork

J = 4


def build(backbone: Callable[..., Any], *, dimensions: int, kind: str = "plain", **more: Any) -> ModalityEncoderNetwork:
    conv_op = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    branches = [backbone(1, dimensions=dimensions, slimmer=J, kind=kind) for _ in range(J)]
    return ModalityEncoderNetwork(
        ChannelEncoder(J, "none", conv_op=conv_op),
        backbone(1, dimensions=dimensions, kind=kind),
        encoders="slim",
        feature_fusion="concatenate",
        branches=branches,
        **more,
    )


def channels_seen(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many channels the convolutions of the decoder's stages multiply."""
    seen: list[int] = []
    for plain in (nn.Conv2d, nn.Conv3d):
        convolve = plain._conv_forward

        def noted(self: Any, x: torch.Tensor, *given: Any, convolve: Any = convolve) -> torch.Tensor:
            if isinstance(self, KeptConv2d | KeptConv3d):
                seen.append(x.shape[1])
            return convolve(self, x, *given)

        monkeypatch.setattr(plain, "_conv_forward", noted)
    return seen


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    "present",
    [
        [[True, False, False, False]],
        [[False, True, False, True]],
        [[True, True, True, True]],
        [[False, False, False, False]],
        [[True, False, False, False], [False, False, True, False]],
    ],
)
def test_the_prediction_is_that_with_the_zeros(
    backbone: Callable[..., Any],
    present: list[list[bool]],
    dimensions: int,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = build(backbone, dimensions=dimensions, kind=kind, presence_conditioning=True).eval()
    x, kept = torch.randn(len(present), J, *[8] * dimensions), torch.tensor(present)
    used = int(kept.any(0).sum()) or J
    with torch.no_grad():
        monkeypatch.setattr(network, "_without_zeros", lambda kept: nullcontext())
        expected = network(x, kept)
        monkeypatch.undo()
        # Two samples, for which torch's own convolution is called.
        seen = channels_seen(network, monkeypatch)
        found = network(x, kept)
        twice = network(x.repeat(2, *[1] * (dimensions + 1)), kept.repeat(2, 1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(twice[: len(x)], expected, rtol=1e-4, atol=1e-4)
    # Levels of 8 and 4 channels: as many upsampled, and of the skip what is kept.
    assert set(seen) == {8 + 2 * used, 4 + used}


def test_training_and_what_comes_after_a_prediction_multiply_all(
    backbone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build(backbone, dimensions=2)
    one = torch.tensor([[True, False, False, False]])
    network.eval()(torch.randn(1, J, 8, 8), one)
    assert network.kept_channels.modalities is None
    seen = channels_seen(network, monkeypatch)
    network.train()(torch.randn(1, J, 8, 8), one)
    assert set(seen) == {16, 8}


def test_a_network_that_is_told_what_is_kept_does_not_wait_for_its_device(backbone: Callable[..., Any]) -> None:
    """On torch's meta device every transfer to the host fails, as it would wait on a GPU."""
    network = build(backbone, dimensions=2).eval().to("meta")
    x = torch.empty(1, J, 8, 8, device="meta")
    network.set_present(torch.tensor([[True, False, True, False]]))
    assert network(x).device == x.device
    everything = network.encode(x, torch.ones(1, J, dtype=torch.bool))
    logits, _, _ = network.fuse_and_decode(everything, torch.tensor([[False, True, False, False]]))
    assert logits.device == x.device
    with pytest.raises(NotImplementedError, match="meta"):
        network.fuse_and_decode(everything, torch.ones(1, J, dtype=torch.bool, device="meta"))


def test_a_copy_of_the_network_has_its_own(backbone: Callable[..., Any]) -> None:
    network = build(backbone, dimensions=2).eval()
    other = copy.deepcopy(network)
    layers = [layer for layer in other.modules() if isinstance(layer, KeptConv2d)]
    assert layers
    assert all(layer.kept_channels is other.kept_channels is not network.kept_channels for layer in layers)


def test_other_fusions_have_none(backbone: Callable[..., Any]) -> None:
    network = ModalityEncoderNetwork(ChannelEncoder(J, "none", conv_op=nn.Conv2d), backbone(1), feature_fusion="mean")
    assert not network.kept_channels.has_any
    assert not any(isinstance(layer, KeptConv2d) for layer in network.modules())
