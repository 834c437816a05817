"""Reconstruction of dropped features: the mean squared error over them, without a gradient to what it aims at."""

from __future__ import annotations

import torch

from nnunet_missingmod.losses.reconstruction import reconstruction_loss

COUNTS = torch.tensor([[True, False, True], [False, False, False]])


def test_it_is_the_mean_squared_error_over_the_pairs_that_count() -> None:
    made_up, features = torch.randn(2, 2, 3, 4, 5, 5)
    expected = (made_up[0, [0, 2]] - features[0, [0, 2]]).square().mean()
    torch.testing.assert_close(reconstruction_loss(made_up, features, COUNTS), expected)


def test_it_is_zero_where_nothing_was_dropped() -> None:
    made_up = torch.randn(2, 3, 4, 5, requires_grad=True)
    loss = reconstruction_loss(made_up, torch.randn(2, 3, 4, 5), torch.zeros_like(COUNTS))
    assert loss == 0
    loss.backward()


def test_what_it_aims_at_gets_no_gradient_and_other_pairs_do_not_matter() -> None:
    made_up, features = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(2, 3, 4, 5, requires_grad=True)
    loss = reconstruction_loss(made_up, features, COUNTS)
    other = torch.where(COUNTS[..., None, None], features, torch.nan)
    assert torch.equal(loss, reconstruction_loss(made_up, other, COUNTS))
    loss.backward()
    assert features.grad is None
    assert (made_up.grad[~COUNTS] == 0).all()
    assert (made_up.grad[COUNTS] != 0).all()


def test_its_gradient_is_that_of_finite_differences() -> None:
    made_up = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    features = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda made_up: reconstruction_loss(made_up, features, COUNTS), made_up)
