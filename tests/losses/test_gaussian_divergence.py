"""Divergences of Gaussians against torch's, over the subsets that each sample has."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from nnunet_missingmod.losses.gaussian_divergence import (
    GaussianDivergenceTerm,
    gaussian_divergence,
    subset_divergence,
)
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import Setting
from nnunet_missingmod.networks.gaussian_fusion import Gaussians, product

J = 3
ENCODED = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])
PRESENT = torch.tensor([[True, False, True], [True, False, False], [False, True, False]])


def gaussians() -> Gaussians:
    return Gaussians(*torch.randn(2, 3, J, 2, 4, dtype=torch.float64))


def test_one_divergence_is_that_of_torch() -> None:
    mean, other = torch.randn(2, 5)
    variance, others = torch.rand(2, 5) + 0.1
    expected = kl_divergence(Normal(mean, variance.sqrt()), Normal(other, others.sqrt()))
    torch.testing.assert_close(gaussian_divergence(mean, variance, other, others), expected)


def test_it_equals_a_loop_over_samples_and_their_subsets() -> None:
    given, standard = gaussians(), Normal(torch.zeros(2, 4).double(), torch.ones(2, 4).double())

    def normal(b: int, members: tuple[int, ...]) -> Normal:
        mask = torch.zeros(1, J, dtype=torch.bool)
        mask[0, list(members)] = True
        mean, variance = product(Gaussians(given.mean[b : b + 1], given.log_variance[b : b + 1]), mask)
        return Normal(mean[0], variance[0].sqrt())

    expected = []
    for b in range(3):
        has = [j for j in range(J) if ENCODED[b, j]]
        subsets = [subset for size in range(1, J + 1) for subset in itertools.combinations(has, size)]
        kept = normal(b, tuple(j for j in range(J) if PRESENT[b, j]))
        between = sum(kl_divergence(kept, normal(b, subset)).mean() for subset in subsets)
        prior = sum(kl_divergence(normal(b, subset), standard).mean() for subset in subsets)
        expected.append(between / max(1, len(subsets) - 1) + prior / len(subsets))
    torch.testing.assert_close(subset_divergence(given, PRESENT, ENCODED), sum(expected) / 3)


def test_more_subsets_than_a_step_can_compare_are_refused_before_it() -> None:
    for number, is_refused in ((16, False), (17, True)):
        setting = Setting(tuple(f"M{j}" for j in range(number)), (4,), 2, Head("softmax"))
        if is_refused:
            with pytest.raises(ValueError, match='"gaussian_product" would compare 131,071 subsets .*: set it to "mom'):
                GaussianDivergenceTerm.from_choices({}, setting)
        else:
            GaussianDivergenceTerm.from_choices({}, setting)


def test_it_is_zero_for_standard_normals_that_say_nothing() -> None:
    nothing = Gaussians(torch.zeros(3, J, 2, 4), torch.full((3, J, 2, 4), 50.0))
    assert subset_divergence(nothing, PRESENT, ENCODED) < 1e-6


def test_what_a_sample_lacks_moves_nothing_and_gets_no_gradient() -> None:
    given = Gaussians(*(part.requires_grad_() for part in gaussians()))
    other = Gaussians(*(torch.where(ENCODED[..., None, None], part, torch.nan) for part in given))
    loss = subset_divergence(given, PRESENT, ENCODED)
    assert torch.equal(loss, subset_divergence(other, PRESENT, ENCODED))
    for gradient in torch.autograd.grad(loss, list(given)):
        assert (gradient[~ENCODED] == 0).all()
        assert (gradient[0] != 0).all()


def test_its_gradient_is_that_of_finite_differences() -> None:
    mean, log_variance = (part[..., :2].clone().requires_grad_() for part in gaussians())
    run = lambda *parts: subset_divergence(Gaussians(*parts), PRESENT, ENCODED)  # noqa: E731
    assert torch.autograd.gradcheck(run, (mean, log_variance))
