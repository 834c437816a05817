"""The features of two subsets of the same cases."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from nnunet_missingmod.losses.subset_consistency import SubsetConsistencyTerm, subset_consistency_loss


def features() -> torch.Tensor:
    return torch.randn(4, 3, 2, 2, dtype=torch.float64)


def test_it_is_the_mean_squared_difference_of_each_case_with_itself() -> None:
    deepest = features()
    pairs = [(deepest[b] - deepest[b + 2]).square().mean() for b in range(2)]
    torch.testing.assert_close(subset_consistency_loss(deepest), sum(pairs) / 2)


def test_equal_features_are_consistent_and_both_halves_learn_from_others() -> None:
    deepest = features().requires_grad_()
    assert subset_consistency_loss(deepest[[0, 1, 0, 1]]) == 0
    subset_consistency_loss(deepest).backward()
    assert (deepest.grad != 0).all()
    torch.testing.assert_close(deepest.grad[:2], -deepest.grad[2:])


def test_its_gradient_is_that_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(subset_consistency_loss, features().requires_grad_())


def test_the_term_is_the_loss_of_the_deepest_level() -> None:
    deepest = features()
    value = SubsetConsistencyTerm().of_step(SimpleNamespace(fused=[torch.zeros(1), deepest]))
    assert torch.equal(value, subset_consistency_loss(deepest.float()))
