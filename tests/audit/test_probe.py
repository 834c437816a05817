"""What a network is fed, how outputs are compared, and that a network is afterwards as it was."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from audit import toys
from torch import nn

from nnunet_missingmod.audit import audit
from nnunet_missingmod.audit.cases import state_check
from nnunet_missingmod.audit.content import content_check, gradient_check
from nnunet_missingmod.audit.probe import Probe


def probe(**more):
    return Probe(nn.Identity(), **{"num_modalities": 3, "input_shape": (4, 4), **more})


def test_up_to_8_modalities_have_all_subsets_and_more_have_a_seeded_sample():
    assert len(probe(num_modalities=8).subsets) == 255
    many = probe(num_modalities=12)
    assert many.subsets == probe(num_modalities=12).subsets
    assert 64 <= len(many.subsets) < 100
    assert {(0,), tuple(range(12)), tuple(range(1, 12))} <= set(many.subsets)


def test_only_channels_that_are_used_are_in_subsets():
    assert probe(uses=[2, 0]).subsets == [(0,), (2,), (0, 2)]
    assert len(probe(uses=[2, 0]).incomplete) == 3


@pytest.mark.parametrize("content", ["reference", "noise", "extreme", "nonfinite"])
def test_present_and_further_channels_stay_whatever_is_put_into_absent_ones(content):
    made = probe(extra_channels=2)
    images, present = made.images(2), made.present([(0,), (1, 2)])
    filled = made.filled(images, present, content)
    kept = torch.cat([present, torch.ones(2, 2, dtype=torch.bool)], 1)
    assert torch.equal(filled[kept], images[kept])
    # The mark is there, and with other contents than the reference not everywhere.
    nan = filled[~kept].isnan().flatten(1).sum(1)
    assert (nan > 0).all()
    assert ((nan == 16) == (content == "reference")).all()
    assert (content == "nonfinite") == bool(filled.isinf().any())
    assert (content == "extreme") == bool((filled[filled.isfinite()].abs() > 1e3).any())


@pytest.mark.parametrize("absent", ["zero", lambda images, _: images])
def test_the_reference_of_other_conventions_is_zeros(absent):
    made = probe(absent=absent)
    filled = made.filled(made.images(1), made.present([(1,)]), "reference")
    assert (filled[0, [0, 2]] == 0).all()
    assert made.contents() == (["noise"] if absent == "zero" else ["noise", "extreme"])


def test_a_network_and_the_generators_are_afterwards_as_they_were():
    network = toys.BatchNormed().train()
    network.encoders[0].eval()
    network(torch.randn(2, 3, 4, 4), torch.ones(2, 3, dtype=torch.bool)).sum().backward()
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    generators = (torch.get_rng_state(), random.getstate(), str(np.random.get_state()))  # noqa: NPY002
    made = Probe(network, num_modalities=3, input_shape=(4, 4), absent=network)
    with made.undisturbed():
        made.run(made.images(2), made.present([(0,), (1,)]), training=True)
        made.run(made.images(2), made.present([(0,), (1,)]), training=True, restored=False)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    left = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(torch.equal(*pair) for pair in zip(left, gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert (random.getstate(), str(np.random.get_state())) == generators[1:]  # noqa: NPY002


def test_a_buffer_that_the_network_makes_in_forward_is_gone_afterwards():
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)
            self.register_buffer("positions", None)

        def forward(self, images):
            if self.positions is None:
                self.positions = torch.zeros(images.shape[2:])
            return self.conv(images.nan_to_num()) + self.positions

    network = Lazy()
    audit(network, num_modalities=3, input_shape=(4, 4))
    assert set(network.state_dict()) == {"conv.weight", "conv.bias"}


@pytest.mark.parametrize("training", [True, False])
def test_a_network_may_change_its_input_in_place(training):
    class InPlace(toys.ReadsTheMark):
        def forward(self, images):
            present = ~images.isnan().flatten(2).any(2)
            images[~present] = 0
            return self.conv(images)

    made = Probe(InPlace(), num_modalities=3, input_shape=(4, 4))
    assert content_check(made, training=training).result == "pass"
    assert gradient_check(made, training=training).result == "pass"
    assert state_check(made).result == "pass"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_modalities": 0}, "at least one modality"),
        ({"input_shape": (1, 3, 4, 4)}, "without batch and channels"),
        ({"absent": "mask"}, "got 'mask'"),
        ({"extra_channels": -1}, "0 or more"),
        ({"uses": []}, "channels 0..2"),
        ({"uses": [3]}, "channels 0..2"),
        ({"subsets": [()]}, "non-empty"),
        ({"names": ["T1"]}, "names for 1"),
        ({"names": ["T1", "T2", "T1"]}, "names are to tell modalities apart, got T1, T2, T1"),
        ({"named": len, "extra_channels": 1}, "hands over modalities alone"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        probe(**wrong)
