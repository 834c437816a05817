"""What the trainers' tests share: trainers by name on the tiny dataset, a finished teacher, and no figures."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
import torch

from nnunet_missingmod.host import CLASS_TABLE

SHORT = {"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 3}


@pytest.fixture
def make_method():
    """Return a function that makes a trainer by its name."""

    def make(name, tiny, *, configuration="3d_fullres", fold=0, **block):
        plans = json.loads(json.dumps(tiny.plans)) | {"continue_training": False}
        plans["configurations"][configuration]["missingmod"] = {**SHORT, **block}
        kind = getattr(import_module(CLASS_TABLE[name]), name)
        return kind(plans, configuration, fold, json.loads(json.dumps(tiny.dataset_json)), torch.device("cpu"))

    return make


@pytest.fixture
def train_teacher(make_method):
    """Return a function that trains a teacher, the conventional one by default, and returns its trainer."""

    def train(tiny, name="nnUNetTrainerMedMAPTeacher", **more):
        teacher = make_method(name, tiny, **more)
        teacher.run_training()
        return teacher

    return train


@pytest.fixture(autouse=True)
def no_host_plot(monkeypatch):
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda self, folder: None)
