"""The memory of a command with all that it starts, and cases of a given size."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
predict_time = pytest.importorskip("predict_time")

MEGABYTE = 10**6
# Waits until it has read a line, so that its memory is there to be seen.
HOLD = "import sys, time; held = bytearray({size}); held[::4096] = b'x' * len(held[::4096]); time.sleep(1.5)"


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is told by Linux alone")
def test_the_peak_is_that_of_a_command_and_its_children_together():
    child, own = HOLD.format(size=120 * MEGABYTE), HOLD.format(size=60 * MEGABYTE)
    command = (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {child!r}]); {own}; child.wait()"
    )
    took = predict_time.run([sys.executable, "-c", command], {})
    assert took.seconds > 1.5
    assert 0.18 < took.gigabytes < 0.26  # ru_maxrss would tell the larger of the two


def test_a_command_that_fails_is_not_measured():
    with pytest.raises(predict_time.subprocess.CalledProcessError):
        predict_time.run([sys.executable, "-c", "raise SystemExit(3)"], {})


def test_cases_have_the_given_size_and_number_of_modalities(tmp_path):
    predict_time.write_cases(tmp_path / "ct", 2, (8, 6, 4), 1, None)
    assert sorted(file.name for file in (tmp_path / "ct").iterdir()) == ["case_000_0000.nii.gz", "case_001_0000.nii.gz"]
    image = sitk.ReadImage(str(tmp_path / "ct" / "case_001_0000.nii.gz"))
    assert image.GetSize() == (8, 6, 4)
    assert sitk.GetArrayFromImage(image).all()
    predict_time.write_cases(tmp_path / "head", 1, (8, 6, 4), 4, (6, 4, 2))
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "head" / "case_000_0003.nii.gz")))
    assert array[2, 3, 4]
    assert not array[0, 0, 0]
