"""A single map's convolution is the same as torch's own, and oneDNN's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.networks.encoders import ModalityEncoders
from nnunet_missingmod.networks.single_map import SingleMapConv3d, use_single_map_convolutions


def replaced(conv: nn.Conv3d) -> nn.Conv3d:
    ours = copy.deepcopy(conv)
    use_single_map_convolutions(ours)
    assert type(ours) is SingleMapConv3d
    return ours


@pytest.mark.parametrize(
    "more",
    [
        {"padding": 1},
        {"padding": (1, 0, 1), "stride": (1, 2, 2), "bias": False},
        {"padding": "same", "dilation": 2},
        {"padding": 1, "groups": 2},
        {"padding": 1, "padding_mode": "replicate"},
    ],
)
@pytest.mark.parametrize("samples", [1, 2])
def test_it_is_torchs_own_up_to_rounding(more: dict[str, Any], samples: int) -> None:
    conv = nn.Conv3d(4, 6, 3, **more)
    x = torch.randn(samples, 4, 6, 7, 8)
    expected = conv(x)
    with torch.no_grad():
        torch.testing.assert_close(replaced(conv)(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(replaced(conv)(x), expected)
    torch.testing.assert_close(replaced(conv).double()(x.double()), conv.double()(x.double()))


def test_training_and_gradients_are_torchs_own() -> None:
    conv = nn.Conv3d(2, 3, 3, padding=1)
    ours = replaced(conv)
    x = torch.randn(1, 2, 5, 5, 5)
    for layer in (conv, ours):
        layer(x).square().sum().backward()
    assert torch.equal(ours.weight.grad, conv.weight.grad)


def test_onednn_convolves_the_single_map(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    convolve = torch.mkldnn_convolution
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda *given: calls.append(1) or convolve(*given))
    ours = replaced(nn.Conv3d(2, 3, 3, padding=1))
    with torch.no_grad():
        ours(torch.randn(1, 2, 5, 5, 5))
        assert calls == [1]
        ours(torch.randn(2, 2, 5, 5, 5))
        ours(torch.randn(2, 5, 5, 5))  # without an axis of samples
    assert calls == [1]


def test_pointwise_convolutions_and_switched_off_libraries_are_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "mkldnn_convolution", None)
    x = torch.randn(1, 2, 5, 5, 5)
    with torch.no_grad():
        replaced(nn.Conv3d(2, 3, 1))(x)
        ours = replaced(nn.Conv3d(2, 3, 3, padding=1))
        with torch.autocast("cpu", torch.bfloat16):
            assert ours(x).dtype == torch.bfloat16
        monkeypatch.setattr(torch._C, "_get_mkldnn_enabled", lambda: False)
        ours(x)


def test_encoders_of_modalities_have_them_under_the_names_they_had(backbone: Callable[..., Any]) -> None:
    plain = [backbone(2).encoder for _ in range(3)]
    names = [list(encoder.state_dict()) for encoder in plain]
    encoders = ModalityEncoders(plain, backbone(2).encoder.output_channels)
    assert [list(encoder.state_dict()) for encoder in encoders.encoders] == names
    kinds = {type(layer) for layer in encoders.modules() if isinstance(layer, nn.modules.conv._ConvNd)}
    assert kinds <= {SingleMapConv3d, nn.Conv2d}
