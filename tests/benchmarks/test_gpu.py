"""The script for a first run on a GPU: what it does without one, with what fails, and when its time is over."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
gpu = pytest.importorskip("gpu")

CPU = torch.device("cpu")
WAY = gpu.Way("tried", ("nnUNetTrainerModalityDropout", "nnUNetTrainerMedMAP"))


def test_without_a_gpu_it_says_so_and_writes_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path / "performance.md")])
    assert gpu.main() == 0
    assert "There is no GPU" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_section_is_added_and_the_next_one_takes_its_place(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text("# Performance\n")
    gpu.write_section(document, ["first \\1"])
    assert document.read_text() == "# Performance\n\n<!-- gpu -->\nfirst \\1\n<!-- end gpu -->\n"
    document.write_text(document.read_text() + "\nafter\n")
    gpu.write_section(document, ["second"])
    assert document.read_text() == "# Performance\n\n<!-- gpu -->\nsecond\n<!-- end gpu -->\n\nafter\n"


def test_every_trainer_is_measured_once_in_a_few_steps_and_only_one_way_is_compiled():
    compared, others = set(gpu.COMPARED), set(gpu.OTHERS)
    assert not compared & others
    families = {name for group in ("Baselines", "Methods", "Families") for name in gpu.TRAINERS[group][1]}
    assert families - compared - others == {"nnUNetTrainerRDLReference", "nnUNetTrainerM3AEPretrain"}
    ways = (*gpu.WAYS, *gpu.LAST_WAYS)
    assert {name for way in ways for name in way.trainers} == compared | others
    assert [way.compiled for way in ways].count(True) == 1


def test_a_way_leaves_cudnns_search_as_it_was():
    before = torch.backends.cudnn.benchmark
    with gpu.trained_in(gpu.Way("", (), search=False)):
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark == before


def fails(name: str):
    def stepper(trainer, _format=None):
        if type(trainer).__name__ == name:
            raise RuntimeError("no kernel | for this\nGPU")
        return lambda: 1.0

    return stepper


def rows_where(monkeypatch, failing: str) -> list[str]:
    class Trainer:
        pass

    monkeypatch.setattr(gpu, "make_trainer", lambda name, plans, device: type(name, (Trainer,), {})())
    monkeypatch.setattr(gpu, "stepper", fails(failing))
    plans = {gpu.STOCK: {}, gpu.OWN: {}}
    return gpu.table(WAY, plans, CPU, pairs=2, budget=gpu.Budget(1))[4:-1]


def test_a_trainer_that_fails_has_a_row_that_says_so_and_the_next_is_measured(monkeypatch):
    stock, failed, other = rows_where(monkeypatch, "nnUNetTrainerModalityDropout")
    assert stock.startswith("| `nnUNetTrainer` | 1.000 |")
    assert failed.startswith("| `nnUNetTrainerModalityDropout` | failed: RuntimeError: no kernel / for this GPU |")
    assert other.startswith("| `nnUNetTrainerMedMAP` | 1.000 | 1.000 | 1.000 to 1.000 |")
    assert [gpu._told([row])[1] for row in (stock, failed, other)] == [True, False, True]


def test_if_stocks_step_fails_a_row_says_so_and_the_next_way_is_measured(monkeypatch):
    (row,) = rows_where(monkeypatch, "nnUNetTrainer")
    assert row.startswith("| `nnUNetTrainer`, `nnUNetTrainerModalityDropout`, `nnUNetTrainerMedMAP` | failed: ")
    assert row.count("|") == 7


def test_when_the_time_is_over_what_remains_is_named_and_nothing_has_failed(monkeypatch):
    def make_trainer(name, plans, device):
        time.sleep(0 if name == "nnUNetTrainer" else 30)

    monkeypatch.setattr(gpu, "make_trainer", make_trainer)
    monkeypatch.setattr(gpu, "stepper", lambda *_given: lambda: 1.0)
    monkeypatch.setattr(gpu, "WAYS", (WAY,))
    monkeypatch.setattr(gpu, "LAST_WAYS", (WAY,))
    monkeypatch.setattr(
        gpu, "make_plans", lambda *_given, **_target: {"configurations": {"3d_fullres": {"patch_size": [8]}}}
    )
    parts = list(gpu.measured(CPU, pairs=2, memory_target_gb=1, budget=gpu.Budget(3 / 60)))
    assert all(good for _, good in parts)
    rows = [line for lines, _ in parts for line in lines if line.startswith("| `")]
    assert rows[0].startswith("| `nnUNetTrainer` | 1.000 |")
    assert [row.split(" | ")[0][2:] for row in rows[1:3]] == [f"`{name}`" for name in WAY.trainers]
    assert all("not measured: the time was over" in row for row in rows[1:])
    assert len(rows) == 4  # of the second way one row names all


def test_two_processes_need_two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    (line, _) = gpu.in_two_processes("nnUNetTrainerMMFormer", compiled=True, pairs=2, budget=gpu.Budget(1))
    assert line.startswith("`nnUNetTrainerMMFormer`, compiled, in two processes")
    assert "there are not two GPUs" in line


def test_two_processes_that_hang_are_ended(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(gpu, "_distributed", time.sleep)  # does not get further than its start within the time
    began = time.monotonic()
    (line, _) = gpu.in_two_processes("nnUNetTrainerMMFormer", compiled=True, pairs=2, budget=gpu.Budget(0.5 / 60))
    assert "not measured: the time was over" in line
    assert time.monotonic() - began < 20
