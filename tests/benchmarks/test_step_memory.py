"""The count of a step's memory without a GPU, and that trainers fit the memory that their plans are made for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
step_memory = pytest.importorskip("step_memory")


def test_tensors_count_once_and_while_they_exist():
    live = step_memory.LiveBytes()
    with live:
        first = torch.zeros(1000, device="meta")
        view = first.reshape(10, 100)
        assert live.now == 4000
        second = view.half()
        del first
        assert live.now == 6000
        del view
        assert live.now == 2000
        third = second + 1
        del second, third
    assert (live.now, live.peak) == (0, 6000)


def test_mixed_precision_is_that_of_autocasts_lists_and_can_be_switched_off():
    layer = torch.nn.Conv3d(2, 3, 3, device="meta")
    image = torch.zeros(1, 2, 8, 8, 8, device="meta")
    with step_memory.on_meta() as mixed, mixed:
        convolved = layer(image)
        assert convolved.dtype == torch.float16
        assert convolved.log_softmax(1).dtype == torch.float32
        with torch.autocast(device_type="meta", enabled=False):
            assert layer(image).dtype == torch.float32
        assert layer(image).dtype == torch.float16
    assert layer(image).dtype == torch.float32


def test_trainers_that_took_too_much_stay_within_their_share_of_memory(capsys, monkeypatch):
    # U-HVED took 15 times stock's memory for each counted output, and DeMoSeg 2.6 times.
    names = ["nnUNetTrainerSharedBackbone", "nnUNetTrainerRDL", "nnUNetTrainerGGMDLogits", "nnUNetTrainerDeMoSeg",
             "nnUNetTrainerUHVED"]  # fmt: skip
    assert set(names) <= set(step_memory.LIMITS)
    monkeypatch.setattr(sys, "argv", ["step_memory.py", "--trainers", *names])
    assert step_memory.main() == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == names


def test_what_needs_more_fails(monkeypatch):
    monkeypatch.setattr(step_memory, "LIMITS", {"nnUNetTrainerMedMAP": 1.0})
    monkeypatch.setattr(sys, "argv", ["step_memory.py", "--trainers", "nnUNetTrainerMedMAP"])
    assert step_memory.main() == 1
