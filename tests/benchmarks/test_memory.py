"""The count of what a step keeps, and its peak: of a network that is not compiled, and of one trainer at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
memory = pytest.importorskip("memory")

CPU = torch.device("cpu")
TRAINER = "nnUNetTrainerModalityDropout"
GIGABYTES = 0.02


@pytest.fixture
def events(monkeypatch) -> list[str]:
    """What happens in turn: memory given back, trainers built and how, steps, and readings."""
    said: list[str] = []
    build, release = memory.make_trainer, memory.release

    def make_trainer(*given):
        said.append(f"build, compile={dict(os.environ).get('nnUNet_compile')}")
        trainer = build(*given)
        step = trainer.train_step
        trainer.train_step = lambda batch: said.append("step") or step(batch)
        return trainer

    monkeypatch.setattr(memory, "make_trainer", make_trainer)
    monkeypatch.setattr(memory, "release", lambda device: said.append("release") or release(device))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: said.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: said.append("read") or 7)
    monkeypatch.delenv("nnUNet_compile", raising=False)
    return said


def test_a_peak_has_neither_the_cache_of_earlier_trainers_nor_that_of_first_steps(events):
    with memory.dataset_without_images() as preprocessed:
        plans = memory.make_plans(memory.STOCK, preprocessed, memory_target_gb=GIGABYTES)
        assert memory.peak_bytes(TRAINER, plans, CPU) == 7
    assert events == ["release", "build, compile=None", "step", "step", "release", "reset", "step", "read"]


def test_what_is_kept_is_counted_of_a_network_that_is_not_compiled(events, monkeypatch):
    monkeypatch.setattr(memory, "ARMS", {TRAINER: memory.STOCK})
    lines, kept = zip(*memory.measure(CPU, memory_target_gb=GIGABYTES), strict=True)
    assert all(kept)
    assert events == ["release", "build, compile=f"]
    assert lines[-1].startswith(f"| `{TRAINER}` | stock |")


def test_a_row_is_there_before_the_next_trainer_is_built(events, monkeypatch):
    monkeypatch.setattr(memory, "ARMS", {TRAINER: memory.STOCK, "nnUNetTrainer": memory.STOCK})
    lines = memory.measure(CPU, memory_target_gb=GIGABYTES)
    assert any(line.startswith(f"| `{TRAINER}`") for line, _ in lines)
    assert events.count("build, compile=f") == 1
