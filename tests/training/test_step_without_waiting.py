"""A training step does not wait for its device before the loss is read at its end.

On torch's meta device every transfer to the host fails, as it would wait on a GPU. Copies to the device, and that
tensors lie where they are used, are seen by ``test_step_on_a_fake_gpu``.
"""

from __future__ import annotations

import traceback
from functools import partial
from importlib import import_module

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_missingmod.choices import TRAINERS
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.losses import gradient_surgery
from nnunet_missingmod.training import all_subsets_step
from nnunet_missingmod.training.building import taught_terms
from nnunet_missingmod.training.method_trainer import MethodTrainer
from nnunet_missingmod.training.step import TeacherOutput

META = torch.device("meta")


def of_the_cpu(autocast, device_type, **arguments):
    """Switched off here whatever the device; there is none of the meta device."""
    assert (device_type, arguments) == ("meta", {"enabled": False})
    return autocast("cpu", **arguments)


class StandIn:
    """A teacher that knows the shapes."""

    def __init__(self, channels):
        self.channels = channels

    def counts(self, present):
        return present.all(dim=1)

    def __call__(self, data, present, _samples):
        assert data.device == META
        assert present.device == torch.device("cpu")
        complete = present.all(dim=1).to(META)
        levels = [
            torch.zeros(len(data), channels, *[length >> level for length in data.shape[2:]], device=META)
            for level, channels in enumerate(self.channels)
        ]
        return TeacherOutput(torch.zeros(len(data), 4, *data.shape[2:], device=META), levels, complete, levels[0])


@pytest.mark.parametrize(
    "name",
    [
        "nnUNetTrainerModalityDropout",
        "nnUNetTrainerMedMAPTeacher",
        "nnUNetTrainerHolderMI",
        "nnUNetTrainerHolderMISelf",
        "nnUNetTrainerSharedBackbone",
        "nnUNetTrainerHolderMIParallel",
        "nnUNetTrainerRDL",
        *TRAINERS["Families"][1],
        "nnUNetTrainerMaskedPretraining",
    ],
)
def test_the_host_waits_for_nothing_but_the_loss(make_tiny_dataset, preprocess, monkeypatch, name):
    monkeypatch.setenv("nnUNet_compile", "f")  # the host compiles on whatever is not a CPU
    monkeypatch.setattr(torch, "autocast", partial(of_the_cpu, torch.autocast))
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    plans = {**tiny.plans, "continue_training": False}
    trainer = getattr(import_module(CLASS_TABLE[name]), name)(plans, "3d_fullres", 0, tiny.dataset_json, META)
    trainer.initialize()
    if isinstance(trainer, MethodTrainer) and (trainer.average is not None or taught_terms(trainer.choices)):
        trainer.frozen_teacher = StandIn((4, 8, 8))
    # Gradient surgery waits once, for the products of the subsets' gradients.
    monkeypatch.setattr(gradient_surgery, "weights_without_conflicts", lambda products, _rng: torch.ones(len(products)))
    monkeypatch.setattr(all_subsets_step, "weights_without_conflicts", gradient_surgery.weights_without_conflicts)
    trainer.network.train()
    data = torch.randn(2, 4, 16, 16, 16)
    data[0, 1] = float("nan")
    target = [torch.randint(0, 4, (2, 1, *[16 >> level] * 3)).float() for level in range(2)]
    with pytest.raises(NotImplementedError, match="meta") as caught:
        trainer.train_step({"data": data, "target": target})
    last_of_ours_or_the_hosts = [
        frame
        for frame in traceback.extract_tb(caught.tb)
        if "nnunetv2" in frame.filename or "missingmod" in frame.filename
    ][-1]
    assert last_of_ours_or_the_hosts.name == nnUNetTrainer.train_step.__name__
    assert last_of_ours_or_the_hosts.line == "return {'loss': l.detach().cpu().numpy()}"
    stepped = [p for group in trainer.optimizer.param_groups for p in group["params"] if p.grad is not None]
    assert stepped
