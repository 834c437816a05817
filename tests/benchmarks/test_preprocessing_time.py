"""Preprocessing is timed on real files, without the folders of nnU-Net, as on a machine that only predicts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
preprocessing_time = pytest.importorskip("preprocessing_time")


def test_each_number_of_files_has_a_row(monkeypatch):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    lines, _ = preprocessing_time.measure(pairs=2, size=16)
    assert lines[0].startswith("Image 16^3 to 1.25 mm, 2 pairs, stock ")
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| all files", *(f"| {n} of 4 files" for n in (3, 2, 1))]
