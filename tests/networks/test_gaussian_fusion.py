"""The product of Gaussians against torch's own distributions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from nnunet_missingmod.networks.gaussian_fusion import LARGEST, GaussianProductFusion, Gaussians, bounded, product

PRESENT = torch.tensor([[True, False, True], [False, False, False]])


def gaussians() -> Gaussians:
    return Gaussians(*torch.randn(2, 2, 3, 4, 5, dtype=torch.float64))


def test_the_product_has_the_density_of_the_product() -> None:
    given = gaussians()
    mean, variance = product(given, PRESENT)
    one, other = torch.randn(2, *mean[0].shape, dtype=torch.float64)

    def log_density(z: torch.Tensor) -> torch.Tensor:
        scale = (given.log_variance[0] / 2).exp()
        parts = [Normal(given.mean[0, j], scale[j]).log_prob(z) for j in (0, 2)]
        return sum(parts) + Normal(0.0, 1.0).log_prob(z)

    ours = Normal(mean[0], variance[0].sqrt())
    # Densities are proportional: their ratio is the same at any two points.
    torch.testing.assert_close(log_density(one) - log_density(other), ours.log_prob(one) - ours.log_prob(other))


def test_nothing_present_is_the_standard_normal() -> None:
    mean, variance = product(gaussians(), PRESENT)
    assert (mean[1] == 0).all()
    assert (variance[1] == 1).all()


def built() -> GaussianProductFusion:
    fusion = GaussianProductFusion(2, 3, nn.Conv2d, 5).double()
    nn.init.normal_(fusion.moments.weight)
    return fusion


def test_evaluation_takes_the_mean_and_training_a_sample_around_it() -> None:
    fusion, values = built(), torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    expected, variance = product(bounded(*fusion(values, PRESENT).moments), PRESENT)
    assert torch.equal(fusion.eval()(values, PRESENT).fused, expected)
    fusion.train()
    samples = torch.stack([fusion(values, PRESENT).fused for _ in range(4000)])
    torch.testing.assert_close(samples.mean(0), expected, atol=0.1, rtol=0)
    torch.testing.assert_close(samples.var(0), variance, atol=0.1, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_content_of_absent_modalities_changes_nothing_and_gets_no_gradient(*, training: bool) -> None:
    fusion, values = built().train(training), torch.randn(2, 3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    other = torch.where(PRESENT[..., None, None, None], values, torch.nan)

    def run(values: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return fusion(values, PRESENT).fused

    assert torch.equal(run(values), run(other))
    run(values).square().sum().backward()
    assert (values.grad[~PRESENT] == 0).all()
    assert (values.grad[PRESENT] != 0).any()


def test_each_modalitys_gaussian_is_of_its_own_features() -> None:
    fusion, values = built(), torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    other = values.clone()
    other[:, 1] += 1
    ours, theirs = fusion(values, PRESENT).moments, fusion(other, PRESENT).moments
    for part, changed in zip(ours, theirs, strict=True):
        assert torch.equal(part[:, [0, 2]], changed[:, [0, 2]])
        assert not torch.equal(part[:, 1], changed[:, 1])


def test_variances_are_bounded_so_that_nothing_overflows() -> None:
    fusion = built()
    nn.init.constant_(fusion.moments.bias, 1e6)
    fused, moments = fusion(torch.randn(2, 3, 2, 4, 4, dtype=torch.float64), PRESENT)
    assert bounded(*moments).log_variance.max() == LARGEST
    assert fused.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_gradient_is_that_of_finite_differences(*, training: bool) -> None:
    fusion = built().train(training)
    values = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True).unsqueeze(-1)

    def run(values: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return fusion(values, PRESENT).fused

    assert torch.autograd.gradcheck(run, (values,))


def test_gaussians_of_half_precision_are_bounded_in_full_precision() -> None:
    mean, log_variance = torch.tensor([1.0, 2.0]).half(), torch.tensor([-60.0, 3.0]).half()
    found = bounded(mean, log_variance)
    assert [part.dtype for part in found] == [torch.float32] * 2
    assert found.log_variance.tolist() == [-LARGEST, 3.0]
