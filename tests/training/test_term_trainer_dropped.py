"""Modalities that a step drops are encoded for the losses that want them, and reach nothing else."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from nnunet_missingmod.choices import PRETRAINERS, TRAINERS
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.networks.backbone import unwrapped

CPU = torch.device("cpu")


def draws_subsets_itself(name):
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    return getattr(kind, "modality_dropout", "none") != "none" and getattr(kind, "teacher", "average") == "average"


FAMILIES = [name for name in TRAINERS["Families"][1] if draws_subsets_itself(name) and name not in PRETRAINERS]
# A teacher and a partner see the batch before dropout.
COMPLETE = {"mutual_information", "partner", "consistency", "content", "style"}


@pytest.fixture
def family(make_tiny_dataset, preprocess, make_method):
    """Return a function that makes an initialised trainer of a family, on the 2D configuration."""
    tiny = make_tiny_dataset()
    preprocess(tiny, "2d")

    def make(name, **block):
        trainer = make_method(name, tiny, configuration="2d", **block)
        trainer.on_train_start()
        trainer.on_train_epoch_start()
        return trainer

    return make


def step(trainer, data, target, kept):
    """Return the logits and the terms of one step in which ``kept`` is not drawn but given."""
    trainer.dropout.sample = lambda present: kept.numpy()
    network = unwrapped(trainer.network)
    seen = []
    hook = network.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    terms = {name: value.clone() for name, value in trainer.terms.state_dict().items()}
    torch.manual_seed(0)
    trainer.loss.values.clear()
    trainer._steps = 0  # of the epoch, by which samples take turns
    trainer.train_step({"data": data.clone(), "target": target})
    hook.remove()
    network.load_state_dict(weights)
    trainer.terms.load_state_dict(terms)
    logits = seen[0] if isinstance(seen[0], torch.Tensor) else seen[0][0]
    # A network without further terms returns its logits alone, and nnU-Net computes the loss.
    values = trainer.loss.values[0] if trainer.loss.values else {}
    return logits.detach(), {name: float(value) for name, value in values.items()}


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_dropped_image_moves_losses_beside_the_segmentations_and_no_bit_of_the_logits(family, name):
    trainer = family(name)
    batch = next(trainer.dataloader_train)
    data, target = batch["data"], batch["target"]
    kept = torch.ones(len(data), 4, dtype=torch.bool)
    kept[:, 1] = False
    other = data.clone()
    other[:, 1] = torch.randn_like(other[:, 1])
    logits, values = step(trainer, data, target, kept)
    with_other, other_values = step(trainer, other, target, kept)
    assert torch.equal(logits, with_other)
    assert values.get("segmentation") == other_values.get("segmentation")
    moved = {term for term, value in values.items() if value != other_values[term]}
    wanted = {term for term in trainer.terms.names if trainer.terms.term(term).uses_dropped}
    complete = COMPLETE | ({"alignment"} if trainer.choices["partner"] else set())  # of the partner's latents
    assert moved - complete == wanted - complete
    assert unwrapped(trainer.network).encodes_dropped == bool(wanted)


@pytest.mark.usefixtures("attached")
def test_the_fused_output_has_no_weight_at_first_if_the_auxiliary_is_to_begin(family):
    trainer = family("nnUNetTrainerRFNet")
    trainer.num_epochs = 29
    weights = []
    for epoch in range(4):
        trainer.current_epoch = epoch
        trainer.on_train_epoch_start()
        weights.append(trainer.terms.weights["segmentation"])
    assert weights == [0.0, 0.0, 1.0, 1.0]
    assert trainer.terms.weights["auxiliary"] == 1.0


@pytest.mark.usefixtures("attached")
def test_without_an_auxiliary_the_segmentation_counts_from_the_beginning(family):
    trainer = family("nnUNetTrainerRFNet", auxiliary="none")
    trainer.on_train_epoch_start()
    assert trainer.terms.weights["segmentation"] == 1.0
