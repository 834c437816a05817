"""The 95 % intervals hold the truth in 90 to 98 % of simulations, for few patients and for many.

benchmarks/interval_coverage.py does the same with more repetitions; docs/metrics.md has its table, and says where
intervals hold the truth too seldom.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from nnunet_missingmod.evaluation.intervals import Bootstrap

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "interval_coverage.py"
SPEC = importlib.util.spec_from_file_location("interval_coverage", SCRIPT)
interval_coverage = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(interval_coverage)
# What no interval can be right about for few patients: see docs/metrics.md.
HOPELESS = {name for name in interval_coverage.SIMULATIONS if "missed" in name}
# What is right from more than 12 patients on.
FROM_20 = {"mean HD95, log-normal of 1.2", "share of 3 % of 28 pairs a patient"}
# Ranks are whole numbers: their intervals hold the truth more often than they say.
WHOLE = {name for name in interval_coverage.SIMULATIONS if "rank" in name}


@pytest.mark.parametrize("name", [name for name in interval_coverage.SIMULATIONS if name not in HOPELESS])
def test_intervals_of_few_patients_hold_the_truth_as_often_as_they_say(name):
    patients = 20 if name in FROM_20 else 12
    found = interval_coverage.coverage(
        interval_coverage.SIMULATIONS[name], patients, repetitions=600, bootstrap=Bootstrap(resamples=500)
    )
    # Three standard errors of 600 repetitions are 3 %.
    assert 88 <= found <= (100 if name in WHOLE else 99.5)


def test_a_region_that_some_cases_miss_is_right_from_about_five_such_cases_on():
    missed = interval_coverage.missed(0.1)
    few, many = (
        interval_coverage.coverage(missed, patients, repetitions=300, bootstrap=Bootstrap(resamples=500))
        for patients in (12, 60)
    )
    assert few < 80
    assert many >= 94
