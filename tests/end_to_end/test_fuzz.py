"""A round of the fuzzer: what is spoilt is refused by name, what is good is segmented rightly, nothing crashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_missingmod.choices import KEYS

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


def test_the_fuzzer_knows_what_every_documented_key_allows(monkeypatch):
    monkeypatch.syspath_prepend(str(FUZZ.parent))
    import fuzz_plans

    assert set(fuzz_plans.DOCUMENTED) == {key.name for key in KEYS}
    for key in KEYS:
        allowed, refused = fuzz_plans.DOCUMENTED[key.name]
        assert all(map(key.accepts, allowed)), key.name
        assert not any(key.accepts(value) for value in refused if value is not None), key.name


def test_the_fuzzer_writes_every_name_so_that_it_reads_the_same_names_again(monkeypatch):
    monkeypatch.syspath_prepend(str(FUZZ.parent))
    import fuzz_datasets
    from fuzz_dataset_truth import CHANNELS

    for first in CHANNELS:
        for second in CHANNELS:
            assert fuzz_datasets.parse_subset(fuzz_datasets.write_subset([first, second])) == (first, second)


@pytest.mark.slow
@pytest.mark.every
def test_a_round_of_the_fuzzer_finds_nothing():
    command = [sys.executable, str(FUZZ), "--cases", "80", "--plans", "60", "--datasets", "40", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "accepted rightly" in done.stdout
    assert "refused rightly" in done.stdout
