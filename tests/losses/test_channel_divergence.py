"""The divergence between what modalities offer for one another, against torch's own."""

from __future__ import annotations

import torch
from torch.nn import functional

from nnunet_missingmod.losses.channel_divergence import channel_divergence

J, W = 3, 4
PRESENT = torch.tensor([[True, False, True], [True, True, True]])


def offers() -> torch.Tensor:
    return torch.randn(2, J, J, W, 3, 2, dtype=torch.float64)


def test_it_is_the_sum_over_ordered_pairs_of_present_modalities_and_the_mean_over_samples() -> None:
    given, parts = offers(), []
    for b in range(2):
        there = [j for j in range(J) if PRESENT[b, j]]
        for m in there:
            for k in there:
                if m != k:
                    own, others = given[b, k, k].softmax(0), given[b, m, k].log_softmax(0)
                    parts.append(functional.kl_div(others, own, reduction="none").mean())
    torch.testing.assert_close(channel_divergence(given, PRESENT), sum(parts) / 2)
    assert len(parts) == 2 + 6


def test_it_is_zero_where_modalities_say_the_same_of_one_another() -> None:
    same = offers()[:, :1].expand(-1, J, -1, -1, -1, -1)
    assert channel_divergence(same, PRESENT).abs() < 1e-12


def test_a_lone_modality_has_nothing_to_agree_with() -> None:
    given = offers().requires_grad_()
    loss = channel_divergence(given, torch.tensor([[True, False, False]] * 2))
    assert loss == 0
    loss.backward()


def test_absent_modalities_move_nothing_and_get_no_gradient() -> None:
    given = offers().requires_grad_()
    other = given.detach().clone()
    other[0, 1] = torch.nan
    other[0, :, 1] = torch.nan
    loss = channel_divergence(given, PRESENT)
    assert torch.equal(loss, channel_divergence(other, PRESENT))
    loss.backward()
    assert (given.grad[0, 1] == 0).all()
    assert (given.grad[0, :, 1] == 0).all()
    assert (given.grad[0, 0, 2] != 0).all()


def test_its_gradient_is_that_of_finite_differences() -> None:
    given = offers()[..., :1, :1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: channel_divergence(given, PRESENT), given)
