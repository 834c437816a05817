"""The script for a first run on a GPU: what it does without one, and where it writes. Its tables need a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
gpu = pytest.importorskip("gpu")


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


def test_every_way_has_trainers_of_the_table_and_only_one_is_compiled():
    assert {name for way in gpu.WAYS for name in way.trainers} == set(gpu.TRAINERS)
    assert [way.compiled for way in gpu.WAYS].count(True) == 1
    before = torch.backends.cudnn.benchmark
    with gpu.trained_in(gpu.WAYS[-1]):
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark == before
