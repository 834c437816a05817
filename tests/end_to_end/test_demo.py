"""The whole demo, as small as it gets, through nnU-Net's commands; a second start does nothing again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.slow
def test_demo_goes_from_nothing_to_the_table_and_resumes(tmp_path):
    arguments = ["--cases", "5", "--test-cases", "1", "--size", "28", "28", "28", "--width", "4"]
    arguments += ["--epochs", "1", "--iterations", "2", "--output", str(tmp_path / "demo"), "-np", "1"]

    def demo():
        done = subprocess.run(
            [str(Path(sys.executable).parent / "nnunet_missingmod"), "demo", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    said = demo()
    for step in range(1, 7):
        assert f"[{step}/6]" in said
    made = {file.name for file in (tmp_path / "demo").iterdir()}
    assert {"table.md", "table.csv", "table.png", "cases.png", "scores.csv", "logs", "report.html"} <= made
    assert "report.html" in said
    assert "1 test cases, of which 1 lack files" in said
    # Its one test case lacks files, and nnU-Net's own command has segmented it.
    images = [file.name for file in (tmp_path / "demo/nnUNet_raw/Dataset501_Phantom/imagesTs").iterdir()]
    assert 0 < len(images) < 4
    assert (tmp_path / "demo/predictions/nnUNetv2_predict/phantom-test-001.nii.gz").exists()
    before = (tmp_path / "demo/scores.csv").read_bytes()
    began = time.monotonic()
    assert "Going on with" in demo()
    assert time.monotonic() - began < 60, "nothing was left to do"
    assert (tmp_path / "demo/scores.csv").read_bytes() == before
