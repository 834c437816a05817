"""Limits of steps, and the parts of a step of the recommended trainer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
step_time = pytest.importorskip("step_time")


def test_no_limit_is_below_what_is_wanted():
    for arm in step_time.ARMS:
        assert (arm.wanted is None) == (arm.limit is None)
        assert arm.wanted is None or arm.wanted <= arm.limit


def test_the_parts_of_a_step_add_up():
    lines = step_time.measure_parts(torch.device("cpu"), pairs=2, memory_target_gb=0.02)
    whole, *parts = (float(line.split("|")[2]) for line in lines[4:])
    assert len(parts) == 3
    assert whole == pytest.approx(sum(parts), abs=0.03)
