"""What the benchmarks share: budgets that end, sessions that end with what they started, limits of CPUs alone."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
measuring = pytest.importorskip("measuring")

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_budget_interrupts_what_is_measured_when_it_is_over():
    budget, began = measuring.Budget(0.2 / 60), time.monotonic()
    with pytest.raises(TimeoutError), budget.limit():
        time.sleep(20)
    assert time.monotonic() - began < 10
    assert budget.seconds() == 0
    with pytest.raises(TimeoutError), budget.limit():
        raise AssertionError("began although it was over")


def test_what_catches_the_end_of_a_budget_and_goes_on_gets_it_again(monkeypatch):
    monkeypatch.setattr(measuring, "AGAIN_SECONDS", 0.2)
    caught = []

    def goes_on() -> None:
        try:
            time.sleep(20)
        except TimeoutError as error:
            caught.append(error)
        time.sleep(20)

    began = time.monotonic()
    with pytest.raises(TimeoutError), measuring.Budget(0.1 / 60).limit():
        goes_on()
    assert caught
    assert time.monotonic() - began < 10


def test_what_ends_in_time_is_not_interrupted_later():
    with measuring.Budget(0.1 / 60).limit():
        pass
    time.sleep(0.2)


def test_a_part_of_a_budget_ends_with_it():
    assert measuring.Budget(1).at_most(5).seconds() <= 60
    assert measuring.Budget(5).at_most(1).seconds() <= 60


def test_limits_are_those_of_cpus():
    assert [measuring.exit_code(kept, CPU) for kept in (True, False)] == [0, 1]
    assert measuring.exit_code(False, CUDA) == 0


def test_networks_run_in_half_precision_on_a_gpu_alone():
    assert not measuring.mixed_precision(CPU)._enabled
    if torch.cuda.is_available():
        assert measuring.mixed_precision(CUDA)._enabled


def test_what_a_command_has_started_ends_with_its_session(tmp_path):
    child = "import time; time.sleep(60)"
    script = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]); print('started', flush=True)"
    )
    with measuring.own_session([sys.executable, "-c", script], stdout=-1) as process:
        assert process.stdout.readline() == "started\n"
    process.stdout.read()  # would wait for the child, which has the same pipe
    process.stdout.close()
