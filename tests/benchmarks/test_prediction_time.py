"""Predictions are timed as nnU-Net predicts: not compiled, mirrored along the image's axes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
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


@pytest.fixture
def predicted(monkeypatch) -> list[str]:
    """Trainers whose predictors were made. Nothing is predicted; a case with one modality takes half a second."""
    made: list[str] = []

    def make_predictor(arm, plans, device):
        made.append(arm.trainer)
        return arm.trainer

    def synchronised(run, device):
        (image,) = (cell.cell_contents for cell in run.__closure__ if isinstance(cell.cell_contents, torch.Tensor))
        return lambda: 0.5 if image.isnan().any() else 1.0

    monkeypatch.setattr(prediction_time, "make_predictor", make_predictor)
    monkeypatch.setattr(prediction_time, "make_plans", lambda *_given, **_target: {})
    monkeypatch.setattr(prediction_time, "synchronised", synchronised)
    return made


def lines_of(networks) -> Iterator[tuple[str, bool]]:
    size = [4, 4, 4]
    return prediction_time.measure(torch.device("cpu"), pairs=2, memory_target_gb=1, size=size, networks=networks)


def test_a_row_is_there_before_the_next_network_is_built(predicted):
    lines = lines_of(["early", "slim"])
    assert any(line.startswith("| stock | 1.000 | 1.000 to 1.000 |") for line, _ in lines)
    assert predicted == ["nnUNetTrainer"]
    row, kept = next(lines)
    assert row.startswith("| early | 1.000 | 1.000 to 1.000 | 1.03 | 1.15 | 0.500 |")
    assert kept
    assert predicted == ["nnUNetTrainer", "nnUNetTrainerMedMAP"]


def test_rows_are_those_of_the_networks_that_are_asked_for_and_each_has_its_limits(predicted):
    rows = {line.split(" | ")[0]: kept for line, kept in lines_of(["early", "parallel, logits"])}
    assert {name: rows[name] for name in list(rows)[-3:]} == {
        "| stock": True,
        "| early": True,
        "| parallel, logits": False,  # one modality takes half of all, and at most 0.3
    }
