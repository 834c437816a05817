from __future__ import annotations

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, rows_of

from nnunet_missingmod.evaluation.aggregation import pool
from nnunet_missingmod.evaluation.conventions import NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.noninferiority import noninferiority

QUICK = Bootstrap(resamples=200)
NOISE = np.random.default_rng(0).normal(0, 0.01, 20)
NOISE -= NOISE.mean()


def verdict(shift, *, margin=0.02, noise=NOISE, baseline=(0.7,) * 20, subset="A+B", **more):
    rows = rows_of({subset: tuple(0.7 + shift + noise)}) + rows_of({subset: baseline}, model="theirs")
    values = pool(rows, modalities=AB, convention=NNUNET)
    return noninferiority(values, [("ours", "theirs")], margin=margin, bootstrap=QUICK, **more)


def test_the_lower_limit_decides_against_the_margin():
    (fine,), (worse,), (open_,) = (verdict(shift) for shift in (0.0, -0.05, -0.02))
    assert (fine.verdict, worse.verdict, open_.verdict) == ("non-inferior", "inferior", "not shown")
    by_name = sorted(range(20), key=lambda case: f"c{case}")  # the order of cases
    expected = QUICK.interval(NOISE[by_name, None])
    assert (fine.difference.low, fine.difference.high) == pytest.approx((expected.low, expected.high))
    assert worse.difference.high < -0.02 < fine.difference.low
    (strict,) = verdict(0.0, margin=-fine.difference.low / 2)
    assert strict.verdict == "not shown"


def test_only_complete_cases_count():
    assert verdict(0.0, subset="A") == []


def test_cases_of_one_model_are_left_out_and_counted():
    (found,) = verdict(0.0, baseline=(0.7,) * 18 + (None,))
    assert (found.difference.count, found.left_out) == (18, 2)


def test_one_patient_shows_nothing():
    (found,) = verdict(0.0, patients={f"c{case}": "p" for case in range(20)})
    assert found.verdict == "not shown"


def test_a_margin_that_is_none_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1, got 2"):
        verdict(0.0, margin=2)
