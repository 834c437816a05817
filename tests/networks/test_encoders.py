"""Encoders of single modalities: which run, and how wide they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from nnunet_missingmod.networks.encoders import ModalityEncoders

PRESENT = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])


def build(backbone: Callable[..., Any], *, slimmer: int = 1) -> ModalityEncoders:
    branches = [backbone(2, slimmer=slimmer).encoder for _ in range(3)]
    return ModalityEncoders(branches, backbone(2).encoder.output_channels)


def rows() -> torch.Tensor:
    return torch.randn(3, 3, 2, 8, 8)


def test_absent_modalities_cost_nothing_at_prediction(backbone: Callable[..., Any]) -> None:
    encoders = build(backbone).eval()
    ran: dict[int, int] = {}
    for index, encoder in enumerate(encoders.encoders):
        encoder.register_forward_hook(
            lambda module, inputs, output, index=index: ran.__setitem__(index, len(inputs[0]))
        )
    encoders(rows(), PRESENT)
    assert ran == {0: 2, 1: 2, 2: 2}
    ran.clear()
    encoders(rows()[1:2], PRESENT[1:2])
    assert ran == {1: 1}
    encoders.train()(rows(), PRESENT)
    assert ran == {0: 3, 1: 3, 2: 3}


@pytest.mark.parametrize("present", [PRESENT, torch.zeros_like(PRESENT), PRESENT & PRESENT[1]])
@torch.no_grad()
def test_present_rows_are_those_of_training_and_others_are_zero(
    backbone: Callable[..., Any], present: torch.Tensor
) -> None:
    encoders, given = build(backbone), rows()
    in_training = encoders(given, present)
    for level, expected in zip(encoders.eval()(given, present), in_training, strict=True):
        torch.testing.assert_close(level[present], expected[present])
        assert (level[~present] == 0).all()


def test_slim_encoders_have_a_share_of_the_channels_rounded_up(backbone: Callable[..., Any]) -> None:
    encoders = build(backbone, slimmer=3)
    assert encoders.output_channels == (4, 8, 12)
    assert encoders.branch_channels == (2, 3, 4)
