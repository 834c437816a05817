"""Convolutions on a CPU are the same as torch's own, and take the faster way where there is one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from building import build, choices_of
from torch import nn

from nnunet_missingmod.networks.cpu_convolutions import CPUConv2d, CPUConv3d, use_cpu_convolutions


def replaced(conv: nn.Conv2d | nn.Conv3d) -> nn.Conv2d | nn.Conv3d:
    ours = copy.deepcopy(conv)
    use_cpu_convolutions(ours)
    assert type(ours) in (CPUConv2d, CPUConv3d)
    return ours


@pytest.mark.parametrize(
    "more",
    [
        {"padding": 1},
        {"padding": (1, 0, 1), "stride": (1, 2, 2), "bias": False},
        {"padding": "same", "dilation": 2},
        {"padding": "valid"},
        {"padding": "same", "kernel_size": (2, 3, 3)},
        {"padding": 1, "groups": 2},
        {"padding": 1, "padding_mode": "replicate"},
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("samples", [1, 2])
def test_it_is_torchs_own_up_to_rounding(more: dict[str, Any], samples: int) -> None:
    conv = nn.Conv3d(4, 6, **({"kernel_size": 3} | more))
    x = torch.randn(samples, 4, 6, 7, 8)
    expected = conv(x)
    with torch.no_grad():
        torch.testing.assert_close(replaced(conv)(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(replaced(conv)(x), expected)
    torch.testing.assert_close(replaced(conv).double()(x.double()), conv.double()(x.double()))


@pytest.mark.parametrize(
    ("conv", "narrow"),
    [
        (nn.Conv3d(2, 3, 3, padding=1), True),
        (nn.Conv3d(15, 4, (1, 3, 3), padding="same", groups=1), True),
        (nn.Conv3d(4, 8, 3, stride=(1, 2, 2), groups=2, bias=False), True),
        (nn.Conv2d(3, 15, 3, padding=1, padding_mode="reflect"), True),
        (nn.Conv3d(1, 4, 3, padding=1), False),
        (nn.Conv3d(16, 4, 3, padding=1), False),
        (nn.Conv3d(4, 16, 3, padding=1), False),
        (nn.Conv2d(2, 3, 1), False),
    ],
)
@pytest.mark.parametrize("samples", [1, 3])
def test_training_and_gradients_are_torchs_own_with_channels_last_where_they_are_few(
    conv: nn.Conv2d | nn.Conv3d, narrow: bool, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = replaced(conv)
    seen = []
    plain = nn.Conv3d if isinstance(conv, nn.Conv3d) else nn.Conv2d
    convolve = plain._conv_forward

    def noted(self: Any, x: torch.Tensor, *given: Any) -> torch.Tensor:
        seen.append(x.stride(1) == 1)
        return convolve(self, x, *given)

    monkeypatch.setattr(plain, "_conv_forward", noted)
    x = torch.randn(samples, conv.in_channels, *[7] * len(conv.kernel_size))
    given = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(image) for layer, image in zip((conv, ours), given, strict=True)]
    assert seen[1] is narrow
    assert outputs[1].is_contiguous()
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(given[1].grad, given[0].grad, rtol=1e-4, atol=1e-4)
    for mine, torchs in zip(ours.parameters(), conv.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, torchs.grad, rtol=1e-4, atol=1e-4)
    conv.zero_grad()


def test_onednn_convolves_the_single_map(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    convolve = torch.mkldnn_convolution
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda *given: calls.append(1) or convolve(*given))
    ours = replaced(nn.Conv3d(2, 3, 3, padding=1))
    with torch.no_grad():
        ours(torch.randn(1, 2, 5, 5, 5))
        assert calls == [1]
        replaced(nn.Conv3d(2, 3, 3, padding="same"))(torch.randn(1, 2, 5, 5, 5))
        assert calls == [1, 1]
        ours(torch.randn(2, 2, 5, 5, 5))
        ours(torch.randn(2, 5, 5, 5))  # without an axis of samples
    assert calls == [1, 1]


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


@pytest.mark.parametrize(
    "trainer", ["nnUNetTrainerRDL", "nnUNetTrainerM3FeCon", "nnUNetTrainerPMKLTeacher", "nnUNetTrainerShaSpec"]
)
def test_every_convolution_of_encoders_branches_fusions_and_bottlenecks_is_ours(trainer: str) -> None:
    layers = list(build(choices_of(trainer)).modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Conv3d)]
    assert convolutions
    assert all(isinstance(layer, CPUConv2d) for layer in convolutions)
