"""Training steps in mixed precision with a GradScaler, emulated on a CPU: they are taken, and everything stays finite.

What CUDA computes in half precision is here computed so too; how it rounds within a sum is its own.
"""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as host
from torch.nn import functional

from nnunet_missingmod.choices import TRAINERS
from nnunet_missingmod.training import all_subsets_step
from nnunet_missingmod.training.trainer import MissingModTrainer

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
models = pytest.importorskip("models")
step_memory = pytest.importorskip("step_memory")
tiny_model = pytest.importorskip("tiny_model")

STEPS = 6
COARSEST = "decoder.seg_layers.0."
# An average, as many backward passes as subsets, and a decoder for each modality. The others differ by what these have.
ALWAYS = ("nnUNetTrainerHolderMISelf", "nnUNetTrainerGGMD", "nnUNetTrainerRFNet")
EVERY = [name for group in step_memory.GROUPS for name in TRAINERS[group][1] if name not in ALWAYS]
# Beside what the count of memory meets, losses have these.
ALSO_IN_FLOAT32 = {
    functional.binary_cross_entropy_with_logits,
    functional.kl_div,
    functional.smooth_l1_loss,
    functional.softplus,
    torch.cumsum,
    torch.expm1,
    torch.log1p,
    torch.logsumexp,
    torch.norm,
    torch.prod,
    torch.rsqrt,
}


class MixedPrecision(step_memory.MixedPrecision):
    """As autocast does on a GPU, on a CPU."""

    def __init__(self):
        super().__init__()
        self.enabled = False

    @contextmanager
    def switched(self, device_type="cpu", dtype=torch.float16, *, enabled=True):
        """Stand in for ``torch.autocast``."""
        before, self.enabled = self.enabled, enabled
        try:
            yield
        finally:
            self.enabled = before


@pytest.fixture
def mixed(monkeypatch):
    mode = MixedPrecision()
    monkeypatch.setenv("nnUNet_compile", "f")
    monkeypatch.setattr(step_memory, "IN_FLOAT32", step_memory.IN_FLOAT32 | ALSO_IN_FLOAT32)
    monkeypatch.setattr(torch, "autocast", mode.switched)
    monkeypatch.setattr(host, "dummy_context", mode.switched)  # what the host has in autocast's place on a CPU
    monkeypatch.setattr(MissingModTrainer, "_autocast", lambda self: mode.switched())
    return mode


@pytest.fixture
def make_trainer():
    with models.dataset_without_images() as preprocessed:
        plans = tiny_model.make_plans(reader="SimpleITKIO", patch=(8, 8, 8)) | {"dataset_name": models.DATASET}
        folder = preprocessed / plans["configurations"][models.CONFIGURATION]["data_identifier"]
        folder.mkdir()
        (folder / "case.b2nd").touch()  # nnU-Net tells the kind of a dataset by its files' endings

        def make(name):
            trainer = models.make_trainer(name, plans, torch.device("cpu"))
            trainer.grad_scaler = torch.amp.GradScaler("cpu")
            return trainer

        yield make


def learning(trainer):
    """A copy of what learns, in the network and beside it, by name."""
    terms = getattr(trainer, "terms", None)
    named = [*trainer.network.named_parameters(), *(() if terms is None else terms.named_parameters())]
    return {name: value.detach().clone() for name, value in named if value.requires_grad}


def take_steps(trainer, mode, count):
    """Take steps; return the loss of each and the scale after it."""
    losses, scales = [], []
    with mode:
        for _ in range(count):
            losses.append(float(trainer.train_step(models.make_batch(trainer))["loss"]))
            scales.append(trainer.grad_scaler.get_scale())
    return losses, scales


@pytest.mark.parametrize("name", [*ALWAYS, *(pytest.param(name, marks=pytest.mark.every) for name in EVERY)])
def test_steps_with_a_scaler_are_finite_and_move_all_that_learns(make_trainer, mixed, name):
    trainer = make_trainer(name)
    start = learning(trainer)
    losses, scales = take_steps(trainer, mixed, STEPS)
    end = learning(trainer)
    assert all(math.isfinite(loss) for loss in losses)
    assert all(value.isfinite().all() for value in end.values())
    # It is lowered where a step was lost. nnU-Net's own first steps on a GPU lose one or two.
    assert len(set(scales[-STEPS // 2 :])) == 1
    # nnU-Net's loss gives the coarsest output no weight.
    assert not [name for name in end if COARSEST not in name and torch.equal(start[name], end[name])]


def test_a_training_whose_surgery_overflows_goes_on(make_trainer, mixed, monkeypatch):
    monkeypatch.setattr(all_subsets_step, "_LARGEST", 2.0**20)
    trainer = make_trainer("nnUNetTrainerGGMD")
    start = learning(trainer)
    take_steps(trainer, mixed, 1)
    assert all(torch.equal(value, start[name]) for name, value in learning(trainer).items()), "it did not overflow"
    _, scales = take_steps(trainer, mixed, 2)
    assert scales[0] == scales[1]
    assert not all(torch.equal(value, start[name]) for name, value in learning(trainer).items())
