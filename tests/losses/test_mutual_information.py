"""Variational information distillation against a plain loop, its initial state, and what counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nnunet_missingmod.losses.mutual_information import (
    MutualInformationLoss,
    VariationalInformationHead,
    gaussian_information_loss,
    level_weights,
)

NAN = float("nan")


def features(channels: int, *spatial: int, seed: int = 0, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, channels, *spatial), dtype=torch.float64, generator=generator)


def two_levels() -> tuple[MutualInformationLoss, list[Tensor], list[Tensor]]:
    """Return a loss over two levels with features of student and teacher, float64."""
    torch.manual_seed(0)
    loss = MutualInformationLoss([2, 4], [3, 5]).double()
    student = [features(2, 4, 4, 2, seed=1), features(4, 2, 2, 1, seed=2)]
    teacher = [features(3, 4, 4, 2, seed=3), features(5, 2, 2, 1, seed=4)]
    return loss, student, teacher


def test_gaussian_loss_equals_its_formula() -> None:
    predicted, target = features(3, 2, 2, 2, seed=1), features(3, 2, 2, 2, seed=2)
    variance = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    found = gaussian_information_loss(predicted, target, variance)
    for b in range(2):
        terms = []
        for c, sigma_squared in enumerate(variance.tolist()):
            pairs = zip(predicted[b, c].flatten().tolist(), target[b, c].flatten().tolist(), strict=True)
            terms += [math.log(math.sqrt(sigma_squared)) + (d - mu) ** 2 / (2 * sigma_squared) for mu, d in pairs]
        assert found[b].item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_gaussian_loss_is_the_negative_log_likelihood_less_its_constant() -> None:
    predicted, target = features(3, 2, 2, seed=1), features(3, 2, 2, seed=2)
    variance = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    density = torch.distributions.Normal(predicted, variance.sqrt()[:, None, None])
    expected = -density.log_prob(target).mean((1, 2, 3)) - math.log(2 * math.pi) / 2
    torch.testing.assert_close(gaussian_information_loss(predicted, target, variance), expected)


def test_the_best_variance_is_the_mean_squared_error() -> None:
    predicted, target = features(1, 4, 4, seed=1, batch=1), features(1, 4, 4, seed=2, batch=1)
    best = (predicted - target).square().mean().view(1).requires_grad_()
    (gradient,) = torch.autograd.grad(gaussian_information_loss(predicted, target, best).sum(), best)
    assert gradient.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_head_maps_by_three_pointwise_convolutions_and_starts_at_variance_5(dimensions: int) -> None:
    head = VariationalInformationHead(3, 4, dimensions=dimensions).double()
    layers = [type(layer) for layer in head.mean]
    convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
    assert layers == [convolution, nn.ReLU, convolution, nn.ReLU, convolution]
    torch.testing.assert_close(head.variance(), torch.full((4,), 5.0, dtype=torch.float64), atol=1e-6, rtol=0)
    spatial = (3, 2, 2)[:dimensions]
    student, teacher = features(3, *spatial), features(4, *spatial, seed=1)
    expected = []
    weights = [(layer.weight.flatten(1), layer.bias) for layer in head.mean if isinstance(layer, convolution)]
    for b in range(2):
        total = 0.0
        for d_m, d_f in zip(student[b].flatten(1).T, teacher[b].flatten(1).T, strict=True):  # voxel by voxel
            hidden = d_m
            for depth, (weight, bias) in enumerate(weights):
                hidden = weight @ hidden + bias
                hidden = hidden.clamp(min=0) if depth < 2 else hidden
            total += sum(
                math.log(5) / 2 + (f - mu) ** 2 / 10 for f, mu in zip(d_f.tolist(), hidden.tolist(), strict=True)
            )
        expected.append(total / teacher[b].numel())
    assert head(student, teacher).tolist() == pytest.approx(expected, rel=1e-6)


def test_levels_are_weighted_by_powers_of_two_the_deepest_heaviest() -> None:
    loss, student, teacher = two_levels()
    assert loss.level_weights == pytest.approx((1 / 3, 2 / 3))
    levels = [head(s, t).mean() for head, s, t in zip(loss.heads, student, teacher, strict=True)]
    torch.testing.assert_close(loss(student, teacher), levels[0] / 3 + 2 * levels[1] / 3)


def test_level_weights_are_normalised() -> None:
    assert MutualInformationLoss([2, 2], [2, 2], level_weights=[3, 1]).level_weights == (0.75, 0.25)


@pytest.mark.parametrize("content", [NAN, math.inf, 1.0])
def test_a_sample_of_weight_zero_is_left_out_whatever_its_teacher_holds(content: float) -> None:
    loss, student, teacher = two_levels()
    for feature in student:
        feature.requires_grad_()
    for feature in teacher:
        feature[0] = content
    found = loss(student, teacher, sample_weights=torch.tensor([False, True]))
    torch.testing.assert_close(found, loss([s[1:] for s in student], [t[1:] for t in teacher]))
    found.backward()
    for feature in student:
        assert feature.grad is not None
        assert (feature.grad[0] == 0).all()
        assert (feature.grad[1] != 0).any()
    for parameter in loss.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_if_all_samples_are_left_out_the_loss_is_a_zero_and_every_parameter_has_a_gradient() -> None:
    loss, student, teacher = two_levels()
    teacher = [torch.full_like(feature, NAN) for feature in teacher]
    value = loss(student, teacher, sample_weights=torch.zeros(2))
    value.backward()
    assert value.item() == 0
    for parameter in loss.parameters():
        assert parameter.grad is not None
        assert (parameter.grad == 0).all()


def test_the_teacher_gets_no_gradient() -> None:
    loss, student, teacher = two_levels()
    for feature in teacher:
        feature.requires_grad_()
    for weights in (None, torch.ones(2)):
        loss(student, teacher, sample_weights=weights).backward()
        assert all(feature.grad is None for feature in teacher)


def test_the_head_learns_a_map_that_exists_and_its_variance_shrinks() -> None:
    torch.manual_seed(0)
    loss = MutualInformationLoss([2], [2], dimensions=2)
    student = torch.rand(2, 2, 8, 8)
    teacher = [2 * student.flip(1) + 1]
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.03)
    before = loss([student], teacher).item()
    for _ in range(300):
        optimiser.zero_grad()
        value = loss([student], teacher)
        value.backward()
        optimiser.step()
    head = loss.heads[0]
    assert isinstance(head, VariationalInformationHead)
    assert value.item() < before - 0.8
    assert head.variance().max().item() < 1


def test_gradient_is_right() -> None:
    torch.manual_seed(0)
    head = VariationalInformationHead(2, 3, dimensions=2).double()
    student, teacher = features(2, 2, 2).requires_grad_(), features(3, 2, 2, seed=1)
    assert torch.autograd.gradcheck(lambda x: head(x, teacher), (student,))
    variance = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    predicted = features(3, 2, 2, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, v: gaussian_information_loss(x, teacher, v), (predicted, variance))


@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_features_give_a_float32_loss(autocast: bool) -> None:
    loss = MutualInformationLoss([2], [3])
    student = (300 * features(2, 2, 2, 2)).to(torch.bfloat16).requires_grad_()
    teacher = (300 * features(3, 2, 2, 2)).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = loss([student], [teacher])
    (gradient,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_squared_errors_beyond_float16_are_finite() -> None:
    predicted = torch.full((1, 1, 2), 3e4, dtype=torch.float16)
    assert gaussian_information_loss(predicted, -predicted, torch.ones(1)).item() == pytest.approx(6e4**2 / 2, rel=1e-3)


@pytest.mark.parametrize(
    ("student_shape", "teacher_shape", "message"),
    [
        ((2, 2, 4, 4, 4), (2, 3, 2, 2, 2), "compare levels of equal resolution"),
        ((2, 2, 4, 4, 1), (2, 3, 4, 4, 4), "compare levels of equal resolution"),
        ((1, 2, 4, 4, 4), (2, 3, 4, 4, 4), "agree in batch"),
        ((2, 4, 4, 4, 4), (2, 3, 4, 4, 4), r"must have \(2, 3\) channels, got \(4, 3\)"),
        ((2, 2, 4, 4, 4), (2, 1, 4, 4, 4), r"must have \(2, 3\) channels, got \(2, 1\)"),
    ],
)
def test_features_that_do_not_fit_are_refused(
    student_shape: tuple[int, ...], teacher_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MutualInformationLoss([2], [3])([torch.zeros(student_shape)], [torch.zeros(teacher_shape)])


def test_a_missing_level_or_weight_is_refused() -> None:
    loss, student, teacher = two_levels()
    with pytest.raises(ValueError, match="has 2 levels, got 1 student and 2 teacher"):
        loss(student[:1], teacher)
    with pytest.raises(ValueError, match=r"sample_weights must have shape \(2,\), got \(3,\)"):
        loss(student, teacher, sample_weights=torch.ones(3))
    with pytest.raises(ValueError, match="must be"):
        gaussian_information_loss(student[0], teacher[0], torch.ones(2))


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="2 or 3 spatial dimensions, got 1"):
        VariationalInformationHead(2, 3, dimensions=1)
    for student, teacher, weights in (([], [], None), ([2], [2, 3], None), ([2], [2], [1.0, 2.0])):
        with pytest.raises(ValueError, match="same levels, one or more"):
            MutualInformationLoss(student, teacher, level_weights=weights)
    for weights in ([0.0, 0.0], [-1.0, 2.0], [math.nan, 1.0]):
        with pytest.raises(ValueError, match="non-negative and not all zero"):
            MutualInformationLoss([2, 2], [3, 3], level_weights=weights)


def test_levels_double_with_depth_or_are_listed():
    assert level_weights("depth", 3) == {0: 1, 1: 2, 2: 4}
    listed = [0, 1, 0.5]
    assert level_weights(listed, 3) == {1: 1, 2: 0.5}
    with pytest.raises(ValueError, match="the 4 encoder levels"):
        level_weights(listed, 4)
