"""Predictions are timed as nnU-Net predicts: not compiled, mirrored along the image's axes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
prediction_time = pytest.importorskip("prediction_time")


def test_predictors_have_the_network_itself_and_mirror_along_all_axes(monkeypatch):
    build = prediction_time.make_trainer

    def compiled(*given, **block):
        trainer = build(*given, **block)
        trainer.network = torch.compile(trainer.network)  # as nnU-Net does where there is a GPU
        return trainer

    monkeypatch.setattr(prediction_time, "make_trainer", compiled)
    arm = prediction_time.ARMS["early"]
    with prediction_time.dataset_without_images() as preprocessed:
        plans = prediction_time.make_plans(arm.planner, preprocessed, memory_target_gb=0.02)
        predictor = prediction_time.make_predictor(arm, plans, torch.device("cpu"))
    assert not isinstance(predictor.network, torch._dynamo.OptimizedModule)
    assert not predictor.network.training
    assert predictor.allowed_mirroring_axes == (0, 1, 2)


def test_no_limit_is_below_what_is_wanted():
    for arm in prediction_time.ARMS.values():
        assert (arm.wanted is None) == (arm.limit is None)
        assert arm.wanted is None or arm.wanted <= arm.limit
        assert arm.one_wanted is None or arm.one_wanted <= arm.one_limit
