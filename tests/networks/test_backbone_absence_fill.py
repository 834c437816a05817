"""The hook that fills absent channels: weights keep the host's names, absent content does nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_missingmod import absence
from nnunet_missingmod.networks.backbone import fill_absent_channels


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.InstanceNorm3d(4, affine=True), nn.Conv3d(4, 2, 1))


def test_absent_channels_are_zeros_to_the_network_and_complete_inputs_are_untouched():
    filled = fill_absent_channels(network())
    batch = torch.randn(2, 3, 5, 5, 5)
    assert torch.equal(filled(batch), network()(batch))
    zeros = batch.clone()
    zeros[0, 1] = 0
    absence.mark(batch, torch.tensor([[True, False, True], [True, True, True]]))
    assert torch.equal(filled(batch), network()(zeros))


def test_weights_are_interchangeable_with_the_hosts():
    filled = fill_absent_channels(network())
    assert filled.state_dict().keys() == network().state_dict().keys()
    network().load_state_dict(filled.state_dict())


@pytest.mark.parametrize("content", [1e30, -7.0, float("inf")])
def test_content_of_an_absent_channel_never_changes_an_output_and_gets_no_gradient(content):
    filled = fill_absent_channels(network())
    batch = torch.randn(1, 3, 5, 5, 5)
    absence.mark(batch, torch.tensor([[True, False, True]]))
    reference = filled(batch)
    disturbed = batch.clone()
    disturbed[0, 1] = content
    disturbed[0, 1, 2, 2, 2] = absence.ABSENT
    disturbed.requires_grad_()
    output = filled(disturbed)
    assert torch.equal(output, reference)
    output.sum().backward()
    assert (disturbed.grad[0, 1] == 0).all()
    assert torch.isfinite(disturbed.grad[0, 0]).all()
    first = filled[0].weight.grad[:, 1]
    assert (first == 0).all()


def test_the_hook_survives_a_copy_and_compiles_into_one_graph():
    import copy

    filled = copy.deepcopy(fill_absent_channels(network()))
    batch = torch.randn(1, 3, 5, 5, 5)
    absence.mark(batch, torch.tensor([[True, False, True]]))
    compiled = torch.compile(filled, backend="eager", fullgraph=True)
    assert torch.equal(compiled(batch), filled(batch))
