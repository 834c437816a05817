"""The features of two subsets of the same cases."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from nnunet_missingmod.losses.subset_consistency import SubsetConsistencyTerm


def test_it_compares_the_halves_of_a_batch_and_both_learn() -> None:
    deepest = torch.randn(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    term = SubsetConsistencyTerm()
    value = term.of_step(SimpleNamespace(fused=[torch.zeros(1), deepest]))
    torch.testing.assert_close(value.double(), (deepest[:2] - deepest[2:]).square().mean(), rtol=1e-5, atol=1e-6)
    value.backward()
    assert (deepest.grad != 0).all()
    assert term.of_step(SimpleNamespace(fused=[deepest[[0, 1, 0, 1]]])) == 0
