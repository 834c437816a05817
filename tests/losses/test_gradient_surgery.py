"""Gradient surgery against the published loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_missingmod.losses.gradient_surgery import flatten, unflatten, without_conflicts


def by_hand(gradients: torch.Tensor, seed: int) -> torch.Tensor:
    rng, changed = np.random.default_rng(seed), []
    for i in range(len(gradients)):
        g = gradients[i].clone()
        for j in rng.permutation(len(gradients)):
            if j != i and g @ gradients[j] < 0:
                g = g - (g @ gradients[j]) / (gradients[j] @ gradients[j]) * gradients[j]
        changed.append(g)
    return torch.stack(changed).mean(0)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_published_loop(seed: int) -> None:
    torch.manual_seed(seed)
    gradients = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(without_conflicts(gradients, np.random.default_rng(seed)), by_hand(gradients, seed))


def test_gradients_that_agree_are_averaged() -> None:
    gradients = torch.rand(5, 7, dtype=torch.float64)
    torch.testing.assert_close(without_conflicts(gradients, np.random.default_rng(0)), gradients.mean(0))


def test_two_opposite_gradients_leave_what_both_have_in_common() -> None:
    gradients = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    torch.testing.assert_close(without_conflicts(gradients, np.random.default_rng(0)), torch.tensor([0.0, 1.0]))
    opposite = torch.tensor([[1.0, 1.0], [-2.0, 1.0]])
    mean = without_conflicts(opposite, np.random.default_rng(0))
    assert mean @ opposite[0] >= 0
    assert mean @ opposite[1] >= 0


def test_an_objective_without_a_gradient_conflicts_with_none() -> None:
    gradients = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 1.0]])
    assert without_conflicts(gradients, np.random.default_rng(0)).isfinite().all()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_makes_a_result_that_is_not_and_no_warning(value: float) -> None:
    gradients = torch.tensor([[1.0, 0.0], [value, 0.0], [-1.0, 1.0]])
    assert not without_conflicts(gradients, np.random.default_rng(0)).isfinite().all()


def test_a_vector_goes_to_tensors_and_back() -> None:
    like = [torch.zeros(2, 3), torch.zeros(4)]
    vector = flatten([torch.ones(2, 3), None], like)
    assert vector.tolist() == [1.0] * 6 + [0.0] * 4
    parts = unflatten(vector, like)
    assert torch.equal(parts[0], torch.ones(2, 3))
    assert torch.equal(parts[1], torch.zeros(4))
