"""No trainer of the menu lets a modality through that is absent; each sample follows its own subset."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from building import NAMES, SIZE, build, choices_of
from torch import nn

from nnunet_missingmod.choices import PRETRAINERS, TRAINERS
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.networks.backbone import fill_absent_channels
from nnunet_missingmod.training.method_trainer import MethodTrainer

EVERY = [name for _, names in TRAINERS.values() for name in names]
J = len(NAMES)
PRESENT = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
EXTRA = 1  # a previous stage's segmentation, which is never absent


def built(name: str) -> nn.Module:
    """The trainer's network, no parameter of which is 0 or 1 by its initialisation."""
    torch.manual_seed(0)
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    if name in PRETRAINERS or issubclass(kind, MethodTrainer):
        network = build(choices_of(name), extra=EXTRA, deep_supervision=False)
    else:  # stock nnU-Net's network, as the baselines build it
        stock = build({**choices_of("nnUNetTrainerPMKL"), "network": "stock"}, extra=EXTRA, deep_supervision=False)
        network = fill_absent_channels(stock)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.double()


def batch() -> torch.Tensor:
    x = torch.randn(3, J + EXTRA, SIZE, SIZE, dtype=torch.float64)
    x[:, :J][~PRESENT] = torch.nan
    return x


def run(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)  # of a fusion that takes samples in training
    logits: torch.Tensor = network(x)
    return logits


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", EVERY)
def test_content_of_absent_modalities_changes_no_bit_and_gets_no_gradient(name: str, *, training: bool) -> None:
    network, x = built(name).train(training), batch()
    other = x.clone()
    other[:, :J][~PRESENT] = 1e6 * torch.randn_like(other[:, :J][~PRESENT])
    other[:, :J, 3, 3][~PRESENT] = torch.nan  # one voxel is the mark
    other.requires_grad_()
    logits = run(network, other)
    assert torch.equal(logits, run(network, x))
    logits.square().sum().backward()
    assert other.grad.isfinite().all()
    assert (other.grad[:, :J][~PRESENT] == 0).all()
    assert (other.grad[:, :J][PRESENT].flatten(1) != 0).any(1).all()


@pytest.mark.parametrize("name", EVERY)
def test_each_sample_of_a_batch_follows_its_own_subset(name: str) -> None:
    network, x = built(name).eval(), batch()
    together = network(x)
    for b in range(len(x)):
        torch.testing.assert_close(network(x[b : b + 1])[0], together[b], rtol=1e-9, atol=1e-9)
    shown = x.clone()
    shown[0, 1] = 1.0
    changed = (network(shown) - together).abs().flatten(1).amax(1)
    assert changed[0] > 1e-6
    assert (changed[1:] < 1e-9).all()
