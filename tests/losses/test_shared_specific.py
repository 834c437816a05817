"""ShaSpec's two losses: neighbouring modalities' shared features, and the name of a modality."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch.nn import functional

from nnunet_missingmod.losses.shared_specific import DomainTerm, shared_distance
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
    term, g = DomainTerm(4, 3), features().float()
    g[1, 1] = torch.nan
    step = SimpleNamespace(separately=Separately([], ENCODED, specific=g), logits=torch.zeros(1))
    expected = [
        functional.cross_entropy(term.classify(g[b, j].mean((1, 2))), torch.tensor(j))
        for b in range(2)
        for j in range(3)
        if ENCODED[b, j]
    ]
    torch.testing.assert_close(term.of_step(step), sum(expected) / len(expected))
