"""No trainer of the menu lets a modality through that is absent; each sample follows its own subset.

The order of modalities does not matter beyond their names.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from building import NAMES, SIZE, build, choices_of
from renumbering import renumbered
from torch import nn

from nnunet_missingmod.audit import Finding, Probe
from nnunet_missingmod.audit.batch import batch_check
from nnunet_missingmod.audit.constant import constant_check
from nnunet_missingmod.audit.content import content_check, gradient_check
from nnunet_missingmod.choices import PRETRAINERS, TRAINERS
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.network_choices import NETWORK_KEYS
from nnunet_missingmod.networks.backbone import fill_absent_channels
from nnunet_missingmod.networks.reference_unet import ReferenceUNet
from nnunet_missingmod.plans_block import resolve, with_numbers
from nnunet_missingmod.training.method_trainer import MethodTrainer

EVERY = [name for _, names in TRAINERS.values() for name in names]
SUBSETS = [(1,), (0, 2), (0, 1, 2)]
ORDER = [2, 0, 1]
EXTRA = 1  # a previous stage's segmentation, which is never absent


def choices_of_network(name: str) -> dict[str, Any] | None:
    """The choices by which the trainer's network is built; None for stock nnU-Net's, as the baselines build it."""
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    if name not in PRETRAINERS and not issubclass(kind, MethodTrainer):
        return None
    return {key.name: choices_of(name)[key.name] for key in NETWORK_KEYS}


# Trainers whose plans name another backbone than nnU-Net's.
BACKBONES: dict[str, dict[str, Any]] = {
    "nnUNetTrainerRDLReference": {
        "network_class_name": f"{ReferenceUNet.__module__}.{ReferenceUNet.__name__}",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": [4, 6, 8],
            "conv_op": "torch.nn.modules.conv.Conv2d",
            "num_groups": 2,
            "strides": [[1, 1], [2, 2], [2, 2]],
            "kernel_sizes": [[3, 3]] * 3,
        },
        "_kw_requires_import": ["conv_op"],
    }
}
# One trainer for each network of the menu: many train the same network in different ways.
NETWORKS = {(str(choices_of_network(name)), str(BACKBONES.get(name))): name for name in reversed(EVERY)}


def built(name: str) -> nn.Module:
    """The trainer's network, no parameter of which is 0 or 1 by its initialisation."""
    torch.manual_seed(0)
    if choices_of_network(name) is not None:
        network = build(choices_of(name), extra=EXTRA, deep_supervision=False, architecture=BACKBONES.get(name))
    else:
        stock = build({**choices_of("nnUNetTrainerPMKL"), "network": "stock"}, extra=EXTRA, deep_supervision=False)
        network = fill_absent_channels(stock)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.double()


def probe_of(name: str) -> Probe:
    sizes = {"num_modalities": len(NAMES), "input_shape": (SIZE, SIZE), "extra_channels": EXTRA}
    return Probe(built(name), **sizes, names=NAMES, subsets=SUBSETS)


def passes(found: Finding) -> bool:
    assert found.result == "pass", found
    return True


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", NETWORKS.values())
def test_content_of_absent_modalities_changes_no_bit_and_gets_no_gradient(name: str, *, training: bool) -> None:
    probe = probe_of(name)
    assert passes(content_check(probe, training=training))
    assert passes(gradient_check(probe, training=training))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", NETWORKS.values())
def test_each_sample_of_a_batch_follows_its_own_subset(name: str, *, training: bool) -> None:
    assert passes(batch_check(probe_of(name), training=training))


@pytest.mark.parametrize("name", NETWORKS.values())
def test_nothing_that_is_made_of_zeros_in_place_of_a_modality_reaches_the_output(name: str) -> None:
    found = constant_check(probe_of(name))
    assert found.result != "fail", found
    assert (found.result == "note") == (choices_of(name)["bottleneck"] == "reconstruction")  # learned tokens


def test_every_trainer_of_the_menu_is_among_these() -> None:
    assert "nnUNetTrainerRDLReference" in NETWORKS.values()
    assert {(str(choices_of_network(name)), str(BACKBONES.get(name))) for name in EVERY} == NETWORKS.keys()


@pytest.mark.parametrize("name", NETWORKS.values())
def test_the_order_of_modalities_does_not_matter_beyond_their_names(name: str) -> None:
    network = built(name).eval()
    images = torch.randn(len(SUBSETS), len(NAMES) + EXTRA, SIZE, SIZE, dtype=torch.float64)
    for sample, subset in enumerate(SUBSETS):
        images[sample, [channel for channel in range(len(NAMES)) if channel not in subset]] = torch.nan
    moved = images[:, [*ORDER, *range(len(NAMES), len(NAMES) + EXTRA)]]
    expected = network(images)
    torch.testing.assert_close(renumbered(network, ORDER)(moved), expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(network(moved), expected, atol=1e-3)  # its weights are of names


def test_who_stands_in_for_a_modality_goes_by_name_in_whatever_order_they_come() -> None:
    others = {"FLAIR": ["T2", "T1"], "T1": ["T2", "FLAIR"], "T2": ["FLAIR", "T1"]}
    chosen = resolve({"channel_encoder": "substituting", "substitution": others})
    given, moved = (
        build(with_numbers(chosen, names), extra=EXTRA) for names in (NAMES, [NAMES[channel] for channel in ORDER])
    )
    assert torch.equal(renumbered(given, ORDER).channel_encoder.ranks, moved.channel_encoder.ranks)
    assert not torch.equal(given.channel_encoder.ranks, moved.channel_encoder.ranks)
