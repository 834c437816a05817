"""The study's own training steps: each trains on real data."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "accuracy"))

from settings import Arm
from steps import STEPS
from train_arm import build_trainer

SELF = "nnUNetTrainerHolderMISelf"
PAIR = {"two_subsets": True}
# The arm, and how many samples a step has for each sample of a batch.
ARMS = {
    "probe": (Arm("nnUNetTrainerMedMAP", {"alignment_anchor": "none"}), 1),
    "ranking": (Arm(SELF, PAIR), 1),
    "consistency": (Arm(SELF, PAIR), 1),
    "two_views": (Arm(SELF), 2),
    "hard_subsets": (Arm(SELF), 1),
}


@pytest.mark.usefixtures("attached")
def test_each_step_trains_and_shows_as_many_samples_as_it_says(make_tiny_dataset, preprocess):
    tiny = make_tiny_dataset()
    preprocess(tiny, "2d")
    assert set(ARMS) == set(STEPS)
    for name, (arm, views) in ARMS.items():
        plans = json.loads(json.dumps(tiny.plans))
        block = {"num_epochs": 1, "num_iterations_per_epoch": 1, "num_val_iterations_per_epoch": 1, **arm.block}
        plans["configurations"]["2d"]["missingmod"] = block
        named = replace(arm, step=name)
        trainer = build_trainer(named, plans, "2d", 0, json.loads(json.dumps(tiny.dataset_json)))
        trainer.on_train_start()
        trainer.on_train_epoch_start()
        shown = []
        trainer.network.register_forward_pre_hook(lambda module, inputs, shown=shown: shown.append(len(inputs[0])))
        batch = next(trainer.dataloader_train)
        size = len(batch["data"])
        assert math.isfinite(trainer.train_step(batch)["loss"]), name
        assert shown == [views * size], name
