"""A step in two processes: what is said without two GPUs, and when the processes hang."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
two_processes = pytest.importorskip("two_processes")

MMFORMER = "nnUNetTrainerMMFormer"


def said_within(minutes: float) -> str:
    budget = two_processes.Budget(minutes)
    (line, _) = two_processes.in_two_processes(MMFORMER, compiled=True, pairs=2, budget=budget)
    return line


def test_two_processes_need_two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    line = said_within(1)
    assert line.startswith(f"`{MMFORMER}`, compiled, in two processes")
    assert "there are not two GPUs" in line


def test_a_step_is_told_beside_a_process_alone_with_the_graphs_of_both(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    steps = two_processes.Steps(0.5, "3"), two_processes.Steps(0.6, "8, fell back to eager")
    monkeypatch.setattr(two_processes, "_of_two_processes", lambda *_given: steps)
    line = said_within(1)
    assert "a step takes 1.20 of the time of a process alone, 0.500 s." in line
    assert line.endswith("Graphs: 8, fell back to eager; alone: 3.")


def test_two_processes_that_hang_are_ended(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(two_processes, "_distributed", time.sleep)  # does not get further than its start in the time
    began = time.monotonic()
    assert "not measured: the time was over" in said_within(0.5 / 60)
    assert time.monotonic() - began < 20
