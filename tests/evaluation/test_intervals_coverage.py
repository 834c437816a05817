"""The 95 % intervals hold the truth in 90 to 98 % of simulations, from as many patients on as they are shown from.

benchmarks/interval_coverage.py does the same with more repetitions; docs/metrics.md has its table, and says where
intervals hold the truth too seldom.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from nnunet_missingmod.evaluation.intervals import SHOWN_FROM, SKEWED_FROM, Bootstrap
from nnunet_missingmod.evaluation.shares import SHARES_FROM

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "interval_coverage.py"
SPEC = importlib.util.spec_from_file_location("interval_coverage", SCRIPT)
interval_coverage = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(interval_coverage)
ALL = interval_coverage.SIMULATIONS
# What a few cases decide, of which a sample may have none: see docs/metrics.md.
FEW_DECIDE = ("missed", "false-positive volume, in 10 % of cases", "alike in a patient", "few patients have most")
HOPELESS = {name for name in ALL if any(words in name for words in FEW_DECIDE)}
SHARES = {name for name in ALL if name.startswith(("share", "F1"))}
SKEWED = {name for name in ALL if "HD95" in name or "bias" in name or "false-positive" in name}
# Ranks are whole numbers: their intervals hold the truth more often than they say.
WHOLE = {name for name in ALL if "rank" in name}


def start(name):
    if name in SHARES:
        return SHARES_FROM
    return SKEWED_FROM if name in SKEWED else SHOWN_FROM


def coverage(name, patients, repetitions=2000):
    return interval_coverage.coverage(ALL[name], patients, repetitions=repetitions, bootstrap=Bootstrap(resamples=500))


@pytest.mark.parametrize("name", [name for name in ALL if name not in HOPELESS])
def test_intervals_hold_the_truth_as_often_as_they_say_from_where_they_are_shown(name):
    # Of F1 of presence, some of 20 patients have the region neither in the reference nor predicted.
    for patients in {start(name), 12, 20} if name not in SHARES else {20}:
        if patients >= start(name):
            # Two standard errors of 2000 repetitions are 1 %, of ranks and weighted means, of 500, 2 %.
            found = coverage(name, patients)
            assert 90 <= found <= (100 if name in WHOLE else 98), patients


@pytest.mark.parametrize("name", list(ALL))
def test_with_fewer_patients_none_is_shown(name):
    assert math.isnan(coverage(name, start(name) - 1, repetitions=20))


def test_a_region_that_some_cases_miss_is_right_from_about_five_such_cases_on():
    few, many = (coverage("mean HD95, 10 % of cases missed", patients, repetitions=300) for patients in (12, 60))
    assert few < 80
    assert many >= 94
