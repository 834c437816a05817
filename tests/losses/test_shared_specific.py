"""ShaSpec's two losses: neighbouring modalities' shared features, and the name of a modality."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional

from nnunet_missingmod.losses.shared_specific import DomainTerm, domain_loss, shared_distance
from nnunet_missingmod.networks.backbone import Separately

ENCODED = torch.tensor([[True, True, True], [True, False, True]])


def features() -> torch.Tensor:
    return torch.randn(2, 3, 4, 2, 2, dtype=torch.float64)


def test_the_distance_is_over_neighbours_that_are_there() -> None:
    h = features()
    pairs = [(0, 0, 1), (0, 1, 2), (0, 2, 0), (1, 2, 0)]
    expected = sum((h[b, i] - h[b, j]).abs().mean() for b, i, j in pairs) / len(pairs)
    torch.testing.assert_close(shared_distance(h, ENCODED), expected)


def test_a_lone_modality_has_no_neighbour() -> None:
    h = features()[:, :1].requires_grad_()
    loss = shared_distance(h, torch.ones(2, 1, dtype=torch.bool))
    assert loss == 0
    loss.backward()


def test_what_was_not_encoded_moves_nothing_and_gets_no_gradient() -> None:
    h = features().requires_grad_()
    other = torch.where(ENCODED[..., None, None, None], h, torch.nan)
    loss = shared_distance(h, ENCODED)
    assert torch.equal(loss, shared_distance(other, ENCODED))
    loss.backward()
    assert (h.grad[~ENCODED] == 0).all()


def test_its_gradient_is_that_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda h: shared_distance(h, ENCODED), features().requires_grad_())


def test_the_classifier_names_the_modality_of_mean_features() -> None:
    classify, g = nn.Linear(4, 3).double(), features()
    expected = [
        functional.cross_entropy(classify(g[b, j].mean((1, 2))), torch.tensor(j))
        for b in range(2)
        for j in range(3)
        if ENCODED[b, j]
    ]
    torch.testing.assert_close(domain_loss(g, ENCODED, classify), sum(expected) / len(expected))


def test_a_classifier_that_knows_nothing_is_wrong_by_the_logarithm_of_their_number() -> None:
    value = domain_loss(features(), ENCODED, lambda means: torch.zeros(*means.shape[:2], 3, dtype=means.dtype))
    torch.testing.assert_close(value, torch.tensor(3.0, dtype=torch.float64).log())


def test_what_was_not_encoded_is_not_named() -> None:
    classify, g = nn.Linear(4, 3).double(), features().requires_grad_()
    other = torch.where(ENCODED[..., None, None, None], g, torch.nan)
    loss = domain_loss(g, ENCODED, classify)
    assert torch.equal(loss, domain_loss(other, ENCODED, classify))
    loss.backward()
    assert (g.grad[~ENCODED] == 0).all()
    assert (g.grad[ENCODED] != 0).all()
    nothing = domain_loss(features(), torch.zeros_like(ENCODED), classify)
    assert nothing == 0
    assert nothing.requires_grad


def test_the_gradient_of_naming_is_that_of_finite_differences() -> None:
    run = lambda g, weight: domain_loss(g, ENCODED, lambda means: functional.linear(means, weight))  # noqa: E731
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (features().requires_grad_(), weight))


def test_the_term_is_the_loss_of_the_specific_features_of_a_step() -> None:
    term, g = DomainTerm(4, 3), features().float()
    step = SimpleNamespace(separately=Separately([], ENCODED, specific=g), logits=torch.zeros(1))
    assert torch.equal(term.of_step(step), domain_loss(g, ENCODED, term.classify))
