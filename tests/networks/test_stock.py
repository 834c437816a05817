"""The plans' own network with features beside its logits: the names and numbers are the host's."""

from __future__ import annotations

import copy

import pytest
import torch

from nnunet_missingmod import absence
from nnunet_missingmod.networks.stock import return_features_in_training

J = 3


@pytest.fixture
def pair(backbone):
    torch.manual_seed(0)
    plain = backbone(J + 1, dimensions=2)
    return plain, return_features_in_training(copy.deepcopy(plain), J)


def images(present):
    x = torch.randn(2, J + 1, 16, 16)
    absence.mark(x, torch.tensor(present))
    return x


def test_weights_keep_the_hosts_names_and_the_output_is_the_hosts(pair):
    plain, network = pair
    assert network.state_dict().keys() == plain.state_dict().keys()
    network.load_state_dict(plain.state_dict())
    x = images([[True, True, True]] * 2)
    assert torch.equal(network.eval()(x), plain.eval()(x))


def test_in_training_the_features_are_what_the_decoder_sees(pair):
    plain, network = pair
    present = [[True, False, True], [False, False, True]]
    x = images(present)
    filled = absence.fill(x)
    assert isinstance(network.train()(x), torch.Tensor)
    network.training_output = "features"
    logits, features = network(x)
    assert torch.equal(logits, plain(filled))
    assert features.present.tolist() == present
    assert torch.equal(features.latents[:, :, 0], filled[:, :J])
    for one, other in zip(features.encoder, plain.encoder(filled), strict=True):
        assert torch.equal(one, other)
    assert isinstance(network.eval()(x), torch.Tensor)


def test_what_an_absent_channel_holds_moves_nothing_and_gets_no_gradient(pair):
    _, network = pair
    network.train().training_output = "features"
    x = images([[True, False, True], [False, True, True]])
    other = x.clone()
    other[0, 1, 3:, 3:] = 7.0  # the mark is still in the channel
    other[1, 0, :5] = -3.0
    other.requires_grad_()
    (one, features), (same, again) = network(x), network(other)
    assert torch.equal(one, same)
    assert torch.equal(features.latents, again.latents)
    (same.square().sum() + again.latents.square().sum() + again.encoder[-1].square().sum()).backward()
    assert torch.equal(other.grad[0, 1], torch.zeros(16, 16))
    assert torch.equal(other.grad[1, 0], torch.zeros(16, 16))
    assert other.grad[0, 0].abs().sum() > 0


def test_nothing_is_kept_of_a_forward_pass(pair):
    _, network = pair
    network.train().training_output = "features"
    network(images([[True] * J] * 2))
    (hooks,) = {hook.__self__ for hook in network._forward_hooks.values()}
    assert hooks.skips == []
    assert hooks.present is None
