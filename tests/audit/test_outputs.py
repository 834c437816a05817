"""How outputs are compared, found in whatever a network returns, and made one number to differentiate."""

from __future__ import annotations

import pytest
import torch

from nnunet_missingmod.audit.outputs import all_finite, largest_difference, projection, tensors_of


def test_outputs_are_compared_by_value_shape_and_what_is_no_number():
    nan, inf = float("nan"), float("inf")
    one = [torch.tensor([1.0, -4.0, nan]), torch.tensor([True])]
    assert largest_difference(one, [one[0].clone(), one[1].clone()]) == 0
    assert largest_difference(one, [torch.tensor([1.0, -3.0, nan]), one[1]]) == 0.25
    assert largest_difference(one, [torch.tensor([1.0, -4.0, 2.0]), one[1]]) == inf
    assert largest_difference(one, [one[0], torch.tensor([False])]) == 1
    assert largest_difference(one, [one[0][:2], one[1]]) == inf
    assert largest_difference(one, one[:1]) == inf
    assert largest_difference([torch.zeros(2)], [torch.zeros(2)]) == 0
    assert largest_difference([torch.tensor([inf])], [torch.tensor([inf])]) == 0
    assert not all_finite(one)


def test_tensors_are_found_in_every_kind_of_output():
    a, b = torch.zeros(1), torch.ones(1)
    found = tensors_of({"x": [a, (b, None)], "y": 3})
    assert [float(tensor) for tensor in found] == [0, 1]
    with pytest.raises(ValueError, match="no tensor but NoneType"):
        tensors_of(None)


def test_the_projection_sees_what_a_sum_of_probabilities_does_not():
    logits = torch.randn(1, 3, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(projection([logits.softmax(1)]), logits)
    assert gradient.abs().max() > 1e-3
    assert projection([logits.detach()]) is None
