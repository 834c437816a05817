"""Layers that run on the filling of an absent modality are found; those that are left out of the fusion are not."""

from __future__ import annotations

import pytest
import torch
from audit import toys
from audit.toys import SIZE, J
from torch import nn

from nnunet_missingmod.audit import Probe
from nnunet_missingmod.audit.constant import constant_check


@pytest.mark.parametrize("toy", [toys.BiasOfAbsent, toys.AttentionOverFillings])
def test_constants_of_absent_modalities_that_reach_the_output_are_found(probe_of, toy):
    found = constant_check(probe_of(toy))
    assert found.result == "fail"
    assert found.number >= 1
    assert "encoders." in found.meaning


@pytest.mark.parametrize("toy", [toys.MaskedMean, toys.ByName, toys.ByPosition])
def test_networks_that_leave_them_out_pass(probe_of, toy):
    # ByPosition is wrong in another way: its first encoder runs on another image, not on a filling.
    assert constant_check(probe_of(toy)).result == "pass"


def test_a_mean_over_zeros_is_no_constant(probe_of):
    without_bias = toys.BiasOfAbsent()
    for encoder in without_bias.encoders:
        encoder.register_parameter("bias", None)
    assert constant_check(probe_of(without_bias)).result == "pass"


def test_by_the_convention_of_zeros_it_is_a_note():
    class LateFusion(toys.MaskedMean):
        def forward(self, images):
            return self.decoder(self.encode(images).mean(1))

    network = toys.randomised(LateFusion())
    found = constant_check(Probe(network, num_modalities=J, input_shape=(SIZE, SIZE), absent="zero"))
    assert found.result == "note"
    assert found.number >= 1


def test_a_layer_that_is_called_once_for_each_modality_is_looked_at_call_by_call():
    class OneEncoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Conv2d(1, 2, 1)
            nn.init.ones_(self.encoder.bias)

        def forward(self, images, present):
            images = torch.where(toys.over(present, images), images, 0.0)
            return sum(self.encoder(images[:, j : j + 1]) for j in range(J))

    network = OneEncoder()
    found = constant_check(Probe(network, num_modalities=J, input_shape=(2, 2), absent=network))
    assert (found.result, found.number) == ("fail", J)


def test_it_does_not_apply_where_one_layer_reads_all_modalities(probe_of):
    assert constant_check(probe_of(toys.ReadsTheMark)).result == "does not apply"
