"""The script for a first run on a GPU: without one, the order in which it measures, and the end of its time."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
gpu = pytest.importorskip("gpu")
step_tables = pytest.importorskip("step_tables")

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


def test_every_trainer_is_measured_in_a_few_steps_and_those_compared_are_not_among_the_others():
    compared, others = set(gpu.COMPARED), set(gpu.OTHERS)
    assert not compared & others
    families = {name for group in ("Baselines", "Methods", "Families") for name in gpu.TRAINERS[group][1]}
    assert families - compared - others == {"nnUNetTrainerRDLReference", "nnUNetTrainerM3AEPretrain"}
    assert set(gpu.COMPILED_FAMILIES) <= others
    assert {name for way in (*gpu.WAYS, gpu.LAST_WAY) for name in way.trainers} == compared | others


def test_every_kind_of_network_is_compiled_the_recommended_trainer_first():
    compiled = [name for way in gpu.WAYS if way.compiled for name in way.trainers]
    assert compiled[0] == "nnUNetTrainerHolderMISelf"
    assert {"nnUNetTrainerMMFormer", "nnUNetTrainerRFNet", "nnUNetTrainerUHVED", "nnUNetTrainerACN"} <= set(compiled)
    assert len(compiled) == len(set(compiled))


def test_a_parallel_trainer_is_compiled_in_two_processes():
    assert any(compiled and name in step_tables.WITH_OWN_PLANS for name, compiled in gpu.IN_TWO_PROCESSES.items())


def measured_in_order(monkeypatch, run=None) -> list[tuple[str, bool]]:
    """What is measured as if there were two GPUs, and whether it is said to be good; nothing is trained or run."""
    plans = {"configurations": {"3d_fullres": {"patch_size": [8]}}}
    monkeypatch.setattr(gpu, "make_plans", lambda *_given, **_target: plans)
    monkeypatch.setattr(gpu, "table", lambda way, *_given, **_options: [way.name])
    monkeypatch.setattr(gpu, "in_two_processes", lambda name, **_options: [name])
    monkeypatch.setattr(gpu, "run", run or (lambda script, budget: (script.name, gpu.Ending.KEPT)))
    parts = gpu.measured(torch.device("cuda"), pairs=2, memory_target_gb=1, budget=gpu.Budget(20))
    return [(lines[0], good) for lines, good in parts][1:]


def test_short_ways_come_before_two_processes_and_scripts_and_all_ways_leave_them_time(monkeypatch):
    ways = [way.name for way in gpu.WAYS]
    scripts = [script.name for script in gpu.SCRIPTS]
    order = [name for name, _ in measured_in_order(monkeypatch)]
    assert order == [*ways, *gpu.IN_TWO_PROCESSES, *scripts, gpu.LAST_WAY.name]
    assert any(way.format is torch.channels_last_3d for way in gpu.WAYS)
    assert not all(way.search for way in gpu.WAYS)
    assert sum(way.share for way in gpu.WAYS) < 0.9


@pytest.mark.parametrize("ending", list(gpu.Ending))
def test_a_script_that_is_stopped_or_not_begun_has_not_failed(monkeypatch, ending):
    parts = measured_in_order(monkeypatch, run=lambda script, budget: (script.name, ending))
    assert all(good for _, good in parts) == (ending is not gpu.Ending.FAILED)


def test_when_the_time_is_over_what_remains_is_named_and_nothing_has_failed(monkeypatch):
    def make_trainer(name, plans, device):
        time.sleep(0 if name == "nnUNetTrainer" else 30)

    monkeypatch.setattr(step_tables, "make_trainer", make_trainer)
    monkeypatch.setattr(step_tables, "stepper", lambda *_given: lambda: 1.0)
    monkeypatch.setattr(gpu, "WAYS", (WAY,))
    monkeypatch.setattr(gpu, "LAST_WAY", WAY)
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
