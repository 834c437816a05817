"""What a prediction costs is what it takes: parameters counted, memory at its peak, every fold's time."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from nnunet_missingmod.inference import cost as module
from nnunet_missingmod.inference.cost import measure_cost

MEGABYTE = 2**20


class Predictor:
    """Takes so much memory and lets it go."""

    device = torch.device("cpu")
    list_of_parameters = (None, None)

    def __init__(self, megabytes: int) -> None:
        self.network = torch.nn.Linear(3, 4)
        self.megabytes, self.calls = megabytes, 0

    def predict_logits_from_preprocessed_data(self, data):
        self.calls += 1
        return torch.ones(self.megabytes * MEGABYTE // 4).sum() + data.sum()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_the_peak_is_what_the_prediction_takes_beyond_what_was_in_use():
    held = torch.ones(50 * MEGABYTE // 4)
    found = measure_cost(Predictor(200), torch.zeros(2, 4, 5, 6))
    assert found.peak_bytes / MEGABYTE == pytest.approx(200, abs=30)
    assert measure_cost(Predictor(1), torch.zeros(2, 4, 5, 6)).peak_bytes < 30 * MEGABYTE
    assert held.sum() > 0
    assert (found.parameters, found.folds, found.voxels) == (16, 2, (4, 5, 6))
    assert found.seconds > 0
    assert found.device.startswith("cpu, ")


def test_a_system_that_does_not_tell_costs_no_measurement(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_CLEAR", tmp_path / "nothing" / "there")
    found = measure_cost(Predictor(1), torch.zeros(1, 2, 2, 2))
    assert found.peak_bytes is None
    assert found.seconds > 0


def test_the_fastest_of_the_predictions_after_the_first_is_told(monkeypatch):
    ticks = iter([0.0, 5.0, 10.0, 13.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    predictor = Predictor(1)
    assert measure_cost(predictor, torch.zeros(1, 2, 2, 2)).seconds == 3.0
    assert predictor.calls == 3
