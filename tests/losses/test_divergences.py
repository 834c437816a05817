"""Every divergence that can be picked by name, against a plain loop over probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nnunet_missingmod.choices import DIVERGENCES
from nnunet_missingmod.losses.divergences import (
    NEYMAN_LINEAR_FROM,
    divergence,
    divergence_to_label,
    holder_divergence,
    holder_pseudo_divergence,
)

SYMMETRIC = ("total_variation", "squared_hellinger", "jensen_shannon")
PROPER = tuple(name for name in DIVERGENCES if name != "holder_pseudo")


def kullback_leibler(p: list[float], q: list[float]) -> float:
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True) if x > 0)


def total_variation(p: list[float], q: list[float]) -> float:
    return sum(abs(x - y) for x, y in zip(p, q, strict=True)) / 2


def squared_hellinger(p: list[float], q: list[float]) -> float:
    return 1 - sum(math.sqrt(x * y) for x, y in zip(p, q, strict=True))


def neyman_chi_squared(p: list[float], q: list[float]) -> float:
    return sum((x - y) ** 2 / x for x, y in zip(p, q, strict=True))


def jensen_shannon(p: list[float], q: list[float]) -> float:
    middle = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    return (kullback_leibler(p, middle) + kullback_leibler(q, middle)) / 2


ORACLES: dict[str, Callable[[list[float], list[float]], float]] = {
    "kullback_leibler": kullback_leibler,
    "total_variation": total_variation,
    "squared_hellinger": squared_hellinger,
    "neyman_chi_squared": neyman_chi_squared,
    "jensen_shannon": jensen_shannon,
}


def posterior(seed: int) -> Tensor:
    """Return log-probabilities (2, 4, 3), float64."""
    logits = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.log_softmax(2 * logits, dim=1)


def probabilities(log_p: Tensor, sample: int, voxel: int) -> list[float]:
    return [math.exp(value) for value in log_p[sample, :, voxel].tolist()]


@pytest.mark.parametrize("name", ORACLES)
def test_divergence_equals_its_definition(name: str) -> None:
    log_p, log_q = posterior(0), posterior(1)
    found = divergence(name, log_p, log_q)
    assert found.shape == (2, 3)
    for sample in range(2):
        for voxel in range(3):
            expected = ORACLES[name](probabilities(log_p, sample, voxel), probabilities(log_q, sample, voxel))
            assert found[sample, voxel].item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name", ORACLES)
def test_divergence_to_a_label_equals_the_definition_at_a_one_hot_posterior(name: str) -> None:
    log_p = posterior(2)
    label = torch.tensor([[0, 1, 2], [3, 0, 1]])
    found = divergence_to_label(name, log_p, label)
    assert found.shape == (2, 3)
    for sample in range(2):
        for voxel in range(3):
            p = probabilities(log_p, sample, voxel)
            one_hot = [float(c == label[sample, voxel]) for c in range(4)]
            pair = (one_hot, p) if name == "kullback_leibler" else (p, one_hot)
            assert found[sample, voxel].item() == pytest.approx(ORACLES[name](*pair), abs=1e-10)


def test_holder_divergences_are_picked_with_their_parameters() -> None:
    log_p, log_q = posterior(0), posterior(1)
    pseudo = divergence("holder_pseudo", log_p, log_q, alpha=1.5)
    torch.testing.assert_close(pseudo, holder_pseudo_divergence(log_p, log_q, alpha=1.5))
    proper = divergence("holder_proper", log_p, log_q, alpha=1.5, gamma=0.7)
    torch.testing.assert_close(proper, holder_divergence(log_p, log_q, alpha=1.5, gamma=0.7))


@pytest.mark.parametrize("name", PROPER)
def test_proper_divergence_is_zero_for_equal_posteriors_only(name: str) -> None:
    log_q = posterior(3)
    assert divergence(name, log_q, log_q.clone()).abs().max() < 1e-12
    assert (divergence(name, posterior(4), log_q) > 1e-4).all()


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergence_to_a_label_is_zero_for_a_certain_right_prediction_only(name: str) -> None:
    logits = torch.zeros(1, 4, 2, dtype=torch.float64)
    logits[:, 2] = 60
    found = divergence_to_label(name, torch.log_softmax(logits, dim=1), torch.tensor([[2, 1]]))
    assert abs(found[0, 0].item()) < 1e-12
    assert found[0, 1].item() > 0.5


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_divergences_are_symmetric(name: str) -> None:
    log_p, log_q = posterior(0), posterior(1)
    torch.testing.assert_close(divergence(name, log_p, log_q), divergence(name, log_q, log_p))


@pytest.mark.parametrize(
    ("name", "bound"), [("total_variation", 1.0), ("squared_hellinger", 1.0), ("jensen_shannon", math.log(2))]
)
def test_bounded_divergences_reach_their_bound_for_disjoint_posteriors(name: str, bound: float) -> None:
    log_p = torch.log_softmax(torch.tensor([[80.0, -80.0]]), dim=1)
    assert divergence(name, log_p, log_p.flip(1)).item() == pytest.approx(bound)
    assert divergence_to_label(name, log_p, torch.tensor([1])).item() == pytest.approx(bound)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_order_of_the_classes_does_not_matter(name: str) -> None:
    log_p, log_q, order = posterior(0), posterior(1), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(divergence(name, log_p[:, order], log_q[:, order]), divergence(name, log_p, log_q))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_class_axis_may_be_anywhere(name: str) -> None:
    log_p, log_q = posterior(0), posterior(1)
    label = torch.tensor([[0, 1, 2], [3, 0, 1]])
    last = divergence(name, log_p.movedim(1, -1), log_q.movedim(1, -1), dim=-1)
    torch.testing.assert_close(last, divergence(name, log_p, log_q))
    last = divergence_to_label(name, log_p.movedim(1, -1), label, dim=-1)
    torch.testing.assert_close(last, divergence_to_label(name, log_p, label))


def test_neyman_continues_with_the_value_and_slope_it_has_at_the_knee() -> None:
    knee = math.log(NEYMAN_LINEAR_FROM)
    log_p_y = torch.tensor([[-knee + 1e-4], [-knee - 1e-4], [-knee - 10]], dtype=torch.float64, requires_grad=True)
    value = divergence_to_label("neyman_chi_squared", log_p_y, torch.zeros(3, dtype=torch.int64))
    (slope,) = torch.autograd.grad(value.sum(), log_p_y)
    assert value[0].item() == pytest.approx(value[1].item(), rel=1e-3)
    assert slope[0].item() == pytest.approx(slope[1].item(), rel=1e-3)
    assert value[2].item() == pytest.approx(NEYMAN_LINEAR_FROM * 11 - 1)
    assert slope[2].item() == pytest.approx(-NEYMAN_LINEAR_FROM)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_gradients_are_right_in_both_arguments(name: str) -> None:
    def of_logits(p: Tensor, q: Tensor) -> Tensor:
        return divergence(name, torch.log_softmax(p, dim=1), torch.log_softmax(q, dim=1))

    p = posterior(5)[:1].clone().requires_grad_()
    q = posterior(6)[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(of_logits, (p, q))
    label = torch.tensor([[0, 2, 1]])
    assert torch.autograd.gradcheck(lambda x: divergence_to_label(name, torch.log_softmax(x, dim=1), label), (p,))


def test_half_precision_is_widened() -> None:
    log_p = torch.log_softmax(torch.randn(1, 3, 2), dim=1).to(torch.bfloat16)
    assert divergence("kullback_leibler", log_p, log_p).dtype == torch.float32


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"'holder'; choose one of holder_pseudo, holder_proper, "):
        divergence("holder", posterior(0), posterior(1))


def test_a_parameter_of_another_divergence_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes the parameters \['alpha'\], got \['gamma'\]"):
        divergence("holder_pseudo", posterior(0), posterior(1), gamma=2.0)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        divergence("total_variation", posterior(0), posterior(1)[:1])
    with pytest.raises(ValueError, match=r"Labels must have shape \(2, 3\)"):
        divergence_to_label("total_variation", posterior(0), torch.zeros(2, 4, dtype=torch.int64))
