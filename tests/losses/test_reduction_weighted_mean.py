"""The mean of the values that count."""

from __future__ import annotations

import pytest
import torch

from nnunet_missingmod.losses.reduction import weighted_mean


def test_it_is_the_weighted_mean() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    weights = torch.tensor([[0.5, 0.0], [1.0, 2.0]])
    assert weighted_mean(values, weights).item() == pytest.approx((0.5 * 1 + 3 + 2 * 4) / 3.5)


def test_weights_broadcast_without_changing_the_mean() -> None:
    values = torch.arange(6.0).view(2, 3)
    assert weighted_mean(values, torch.tensor([[True], [False]])).item() == pytest.approx(1.0)


def test_a_value_of_weight_zero_may_be_nan() -> None:
    values = torch.tensor([1.0, float("nan")], requires_grad=True)
    mean = weighted_mean(values, torch.tensor([1.0, 0.0]))
    mean.backward()
    assert mean.item() == 1.0
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, 0.0]


def test_no_weight_gives_a_zero_that_keeps_the_graph() -> None:
    values = torch.tensor([1.0, float("inf")], requires_grad=True)
    mean = weighted_mean(values, torch.zeros(2))
    mean.backward()
    assert mean.item() == 0.0
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 0.0]
