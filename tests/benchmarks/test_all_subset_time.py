"""All subsets at once: what is measured on which device, and that limits are a CPU's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
all_subset_time = pytest.importorskip("all_subset_time")


@pytest.fixture
def measured(monkeypatch) -> list[int]:
    """Rounds of each network. Nothing is predicted; all at once takes as long as one by one, beyond every limit."""
    rounds_of: list[int] = []

    def measure(*_given, rounds, device, mirror):
        rounds_of.append(rounds)
        return [(15.0, 15.0, 1.0)] * rounds

    for name in ("write_model", "write_image", "make_arrays"):
        monkeypatch.setattr(all_subset_time, name, lambda *_given: {})
    monkeypatch.setattr(all_subset_time, "measure", measure)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    return rounds_of


@pytest.mark.parametrize(("device", "code", "rounds"), [("cpu", 1, [3] * 7), ("cuda", 0, [1] * 4)])
def test_limits_of_a_cpu_are_not_a_gpus_and_there_it_takes_less(measured, monkeypatch, capsys, device, code, rounds):
    monkeypatch.setattr(sys, "argv", ["all_subset_time.py", "--device", device])
    assert all_subset_time.main() == code
    assert measured == rounds
    assert ("exceeded" in capsys.readouterr().out) == (device == "cpu")
