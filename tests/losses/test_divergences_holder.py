"""Hölder divergences against plain loops over probabilities, and their laws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nnunet_missingmod.losses.divergences import (
    conjugate_exponent,
    holder_divergence,
    holder_divergence_to_label,
    holder_pseudo_divergence,
    holder_pseudo_divergence_to_label,
)

ALPHAS = (0.3, 0.5, 1.1, 1.5, 2.0, 4.0)
ALPHAS_ABOVE_1 = (1.1, 1.5, 2.0, 4.0)
GAMMAS = (0.5, 1.0, 2.0, 3.0)


def posterior(seed: int, classes: int = 4) -> Tensor:
    """Return log-probabilities (2, classes, 3), float64."""
    logits = torch.randn(2, classes, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.log_softmax(2 * logits, dim=1)


def probabilities(log_p: Tensor, sample: int, voxel: int) -> list[float]:
    return [math.exp(value) for value in log_p[sample, :, voxel].tolist()]


def pseudo_oracle(p: list[float], q: list[float], alpha: float) -> float:
    beta = alpha / (alpha - 1)
    norm_p = sum(x**alpha for x in p) ** (1 / alpha)
    norm_q = sum(x**beta for x in q) ** (1 / beta)
    ratio = sum(x * y for x, y in zip(p, q, strict=True)) / (norm_p * norm_q)
    return -math.log(ratio) if alpha > 1 else math.log(ratio)


def proper_oracle(p: list[float], q: list[float], alpha: float, gamma: float) -> float:
    beta = alpha / (alpha - 1)
    norm_p = sum(x**gamma for x in p) ** (1 / alpha)
    norm_q = sum(x**gamma for x in q) ** (1 / beta)
    ratio = sum(x ** (gamma / alpha) * y ** (gamma / beta) for x, y in zip(p, q, strict=True)) / (norm_p * norm_q)
    return -math.log(ratio) if alpha > 1 else math.log(ratio)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_pseudo_divergence_equals_its_definition(alpha: float) -> None:
    log_p, log_q = posterior(0), posterior(1)
    found = holder_pseudo_divergence(log_p, log_q, alpha=alpha)
    assert found.shape == (2, 3)
    for sample in range(2):
        for voxel in range(3):
            p, q = probabilities(log_p, sample, voxel), probabilities(log_q, sample, voxel)
            assert found[sample, voxel].item() == pytest.approx(pseudo_oracle(p, q, alpha), abs=1e-10)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_proper_divergence_equals_its_definition(alpha: float, gamma: float) -> None:
    log_p, log_q = posterior(0), posterior(1)
    found = holder_divergence(log_p, log_q, alpha=alpha, gamma=gamma)
    for sample in range(2):
        for voxel in range(3):
            p, q = probabilities(log_p, sample, voxel), probabilities(log_q, sample, voxel)
            assert found[sample, voxel].item() == pytest.approx(proper_oracle(p, q, alpha, gamma), abs=1e-10)


@pytest.mark.parametrize("alpha", ALPHAS_ABOVE_1)
def test_divergences_to_a_label_equal_their_definition_at_a_one_hot_posterior(alpha: float) -> None:
    log_p = posterior(2)
    label = torch.tensor([[0, 1, 2], [3, 0, 1]])
    pseudo = holder_pseudo_divergence_to_label(log_p, label, alpha=alpha)
    proper = holder_divergence_to_label(log_p, label, alpha=alpha, gamma=1.5)
    for sample in range(2):
        for voxel in range(3):
            p = probabilities(log_p, sample, voxel)
            one_hot = [float(c == label[sample, voxel]) for c in range(4)]
            assert pseudo[sample, voxel].item() == pytest.approx(pseudo_oracle(p, one_hot, alpha), abs=1e-10)
            assert proper[sample, voxel].item() == pytest.approx(proper_oracle(p, one_hot, alpha, 1.5), abs=1e-10)


def test_both_are_cauchy_schwarz_at_alpha_and_gamma_2() -> None:
    log_p, log_q = posterior(0), posterior(1)
    p, q = log_p.exp(), log_q.exp()
    cosine = (p * q).sum(1) / (p.square().sum(1) * q.square().sum(1)).sqrt()
    torch.testing.assert_close(holder_pseudo_divergence(log_p, log_q, alpha=2), -cosine.log())
    torch.testing.assert_close(holder_divergence(log_p, log_q, alpha=2, gamma=2), -cosine.log())


def test_proper_divergence_at_gamma_1_is_skew_bhattacharyya() -> None:
    log_p, log_q = posterior(0), posterior(1)
    coefficient = (log_p.exp() ** (1 / 3) * log_q.exp() ** (2 / 3)).sum(1)
    torch.testing.assert_close(holder_divergence(log_p, log_q, alpha=3, gamma=1), -coefficient.log())


def test_reference_exponent_1_1_has_conjugate_11() -> None:
    assert conjugate_exponent(1.1) == pytest.approx(11)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_pseudo_divergence_is_zero_where_p_is_q_to_the_1_over_alpha_minus_1_and_only_there(alpha: float) -> None:
    log_q = 0.2 * posterior(3)
    there = log_q / (alpha - 1)
    torch.testing.assert_close(
        holder_pseudo_divergence(there, log_q, alpha=alpha), torch.zeros(2, 3, dtype=torch.float64), atol=1e-12, rtol=0
    )
    elsewhere = there + 0.2 * posterior(4)
    assert (holder_pseudo_divergence(elsewhere, log_q, alpha=alpha) > 1e-6).all()


@pytest.mark.parametrize("alpha", [alpha for alpha in ALPHAS if alpha != 2])
def test_pseudo_divergence_of_q_to_itself_is_not_zero_unless_q_is_uniform(alpha: float) -> None:
    log_q = posterior(3)
    assert (holder_pseudo_divergence(log_q, log_q, alpha=alpha) > 1e-3).all()
    uniform = torch.full_like(log_q, -math.log(4))
    assert holder_pseudo_divergence(uniform, uniform, alpha=alpha).abs().max() < 1e-12


def test_pseudo_divergence_of_q_to_itself_is_zero_at_alpha_2() -> None:
    log_q = posterior(3)
    assert holder_pseudo_divergence(log_q, log_q, alpha=2).abs().max() < 1e-12


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("alpha", ALPHAS)
def test_proper_divergence_is_zero_for_proportional_posteriors_only(alpha: float, gamma: float) -> None:
    log_q = posterior(3)
    assert holder_divergence(log_q + 5, log_q, alpha=alpha, gamma=gamma).abs().max() < 1e-12
    assert (holder_divergence(posterior(4), log_q, alpha=alpha, gamma=gamma) > 1e-4).all()


@pytest.mark.parametrize("alpha", ALPHAS_ABOVE_1)
def test_swapping_the_posteriors_swaps_the_conjugate_exponents(alpha: float) -> None:
    log_p, log_q, beta = posterior(0), posterior(1), conjugate_exponent(alpha)
    torch.testing.assert_close(
        holder_pseudo_divergence(log_p, log_q, alpha=alpha), holder_pseudo_divergence(log_q, log_p, alpha=beta)
    )
    torch.testing.assert_close(
        holder_divergence(log_p, log_q, alpha=alpha, gamma=1.5), holder_divergence(log_q, log_p, alpha=beta, gamma=1.5)
    )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_scaling_a_posterior_changes_nothing(alpha: float) -> None:
    log_p, log_q = posterior(0), posterior(1)
    torch.testing.assert_close(
        holder_pseudo_divergence(log_p + 3, log_q - 2, alpha=alpha), holder_pseudo_divergence(log_p, log_q, alpha=alpha)
    )
    torch.testing.assert_close(
        holder_divergence(log_p + 3, log_q - 2, alpha=alpha), holder_divergence(log_p, log_q, alpha=alpha)
    )


def test_a_certain_and_right_prediction_has_no_divergence_from_its_label() -> None:
    logits = torch.zeros(1, 4, 1, dtype=torch.float64)
    logits[:, 2] = 60
    log_p, label = torch.log_softmax(logits, dim=1), torch.full((1, 1), 2)
    assert holder_pseudo_divergence_to_label(log_p, label).abs().max() < 1e-12
    assert holder_divergence_to_label(log_p, label).abs().max() < 1e-12
    assert (holder_pseudo_divergence_to_label(log_p, label - 1) > 59).all()


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, math.inf, math.nan])
def test_exponents_without_a_divergence_are_refused(alpha: float) -> None:
    log_p = posterior(0)
    with pytest.raises(ValueError, match=f"got {alpha}"):
        holder_pseudo_divergence(log_p, log_p, alpha=alpha)
    with pytest.raises(ValueError, match=f"got {alpha}"):
        holder_divergence(log_p, log_p, alpha=alpha)


def test_alpha_below_1_is_refused_for_labels() -> None:
    log_p, label = posterior(0), torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="infinite for alpha below 1"):
        holder_pseudo_divergence_to_label(log_p, label, alpha=0.5)
    with pytest.raises(ValueError, match="infinite for alpha below 1"):
        holder_divergence_to_label(log_p, label, alpha=0.5)


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.inf, math.nan])
def test_gamma_that_is_not_positive_is_refused(gamma: float) -> None:
    log_p, label = posterior(0), torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"gamma .* above 0"):
        holder_divergence(log_p, log_p, gamma=gamma)
    with pytest.raises(ValueError, match=r"gamma .* above 0"):
        holder_divergence_to_label(log_p, label, gamma=gamma)
