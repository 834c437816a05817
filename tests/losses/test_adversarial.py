"""Adversarial terms: what is compared, who learns when, and that the discriminator's optimiser is saved."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from nnunet_missingmod.losses.adversarial import (
    EntropyAdversarialTerm,
    KnowledgeAdversarialTerm,
    build_discriminator,
    fooling_loss,
    weighted_self_information,
)
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import Setting

SETTING = Setting(("a", "b"), (4, 8, 6), dimensions=2, head=Head("softmax"), num_outputs=3)


def make_step(seed: int = 0) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(seed)
    logits, theirs = torch.randn(2, 2, 3, 32, 32, generator=generator)
    deepest, others = torch.randn(2, 2, 6, 8, 8, generator=generator)
    partner = SimpleNamespace(logits=theirs + 2, fused=[others + 2])
    return SimpleNamespace(
        logits=logits.requires_grad_(), fused=[deepest.requires_grad_()], head=SETTING.head, partner=partner
    )


TERMS = pytest.mark.parametrize("kind", [EntropyAdversarialTerm, KnowledgeAdversarialTerm])


def test_self_information_is_that_of_each_class_over_the_largest_entropy() -> None:
    logits = torch.randn(2, 3, 4)
    p = logits.softmax(1)
    expected = -p * p.log() / torch.log(torch.tensor(3.0))
    torch.testing.assert_close(weighted_self_information(logits, "softmax"), expected)
    torch.testing.assert_close(weighted_self_information(torch.zeros(1, 3, 2), "softmax").sum(1), torch.ones(1, 2))
    torch.testing.assert_close(weighted_self_information(torch.zeros(1, 3, 2), "regions"), torch.ones(1, 3, 2))


@pytest.mark.parametrize("head", ["softmax", "regions"])
def test_the_gradient_of_self_information_is_that_of_finite_differences(head: str) -> None:
    logits = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda logits: weighted_self_information(logits, head), logits)


def test_what_fools_the_discriminator_is_the_cross_entropy_with_the_partners_label() -> None:
    discriminator = build_discriminator(2, (3, 1), 3, 2, strides=(2, 2)).double()
    maps = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    says = discriminator(maps)
    expected = -(1 - says.sigmoid()).log().mean()
    torch.testing.assert_close(fooling_loss(discriminator, maps), expected)
    torch.testing.assert_close(expected, functional.softplus(says).mean())
    assert torch.autograd.gradcheck(lambda maps: fooling_loss(discriminator, maps), maps.requires_grad_())


def test_the_discriminators_have_the_published_widths() -> None:
    entropy, knowledge = (
        EntropyAdversarialTerm.from_choices({}, SETTING),
        KnowledgeAdversarialTerm.from_choices({}, SETTING),
    )
    assert [layer.out_channels for layer in entropy.discriminator[::2]] == [64, 128, 256, 512, 1]
    assert [layer.out_channels for layer in knowledge.discriminator[::2]] == [256, 512, 1]
    assert [layer.stride for layer in entropy.discriminator[::2]] == [(2, 2)] * 5
    assert [layer.stride for layer in knowledge.discriminator[::2]] == [(1, 1), (1, 1), (2, 2)]
    built = build_discriminator(2, (3, 1), 3, 3, strides=(2, 2))
    assert built(torch.zeros(1, 2, 8, 8, 8)).shape == (1, 1, 2, 2, 2)


@TERMS
def test_the_discriminator_learns_to_tell_and_only_the_network_learns_from_the_term(kind: type) -> None:
    torch.manual_seed(0)
    term, step = kind.from_choices({}, SETTING), make_step()
    assert not any(parameter.requires_grad for parameter in term.parameters())
    before = copy.deepcopy(term.state_dict()["discriminator.0.weight"])
    values = [float(term.of_step(make_step()).detach()) for _ in range(30)]
    assert values[-1] > values[0] + 0.05  # it is harder to fool
    assert not torch.equal(before, term.state_dict()["discriminator.0.weight"])
    term.of_step(step).backward()
    leaf = step.logits if kind is EntropyAdversarialTerm else step.fused[0]
    assert (leaf.grad != 0).any()
    assert all(parameter.grad is None for parameter in term.parameters())


@TERMS
def test_without_gradients_nothing_learns(kind: type) -> None:
    term = kind.from_choices({}, SETTING)
    before = copy.deepcopy(dict(term.discriminator.state_dict()))
    with torch.no_grad():
        term.of_step(make_step())
    assert all(torch.equal(value, before[name]) for name, value in term.discriminator.state_dict().items())


@TERMS
def test_a_term_that_is_loaded_goes_on_bit_for_bit(kind: type) -> None:
    term, other = kind.from_choices({}, SETTING), kind.from_choices({}, SETTING)
    for seed in range(3):
        term.of_step(make_step(seed))
    other.load_state_dict(copy.deepcopy(term.state_dict()))
    for seed in range(3, 6):
        assert torch.equal(term.of_step(make_step(seed)), other.of_step(make_step(seed)))
