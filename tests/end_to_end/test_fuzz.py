"""A round of the fuzzer: what is spoilt is refused by name, what is good is segmented rightly, nothing crashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


@pytest.mark.slow
def test_a_round_of_the_fuzzer_finds_nothing():
    command = [sys.executable, str(FUZZ), "--cases", "80", "--plans", "60", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "accepted rightly" in done.stdout
    assert "refused rightly" in done.stdout
