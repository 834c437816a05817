from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, rows_of
from scipy.stats import nct
from scipy.stats import t as student_t

from nnunet_missingmod.evaluation.aggregation import Column, pool
from nnunet_missingmod.evaluation.power import difference_resolved, patients_needed, resolutions


def power_of_t_test(patients, effect):
    """Cohen 1988: the paired t test's power, from the noncentral t distribution."""
    limit = student_t.ppf(0.975, patients - 1)
    shifted = nct(patients - 1, effect * math.sqrt(patients))
    return shifted.sf(limit) + shifted.cdf(-limit)


@pytest.mark.parametrize(("sd", "expected"), [(0.02, 34), (0.05, 199), (0.0125, 15), (0.01, 10)])
def test_the_numbers_of_the_tables(sd, expected):
    """Of G*Power 3.1, t test of matched pairs, two-sided 5 %, power 80 %, effects 0.5, 0.2, 0.8 and 1."""
    assert patients_needed(sd) == expected


@pytest.mark.parametrize("sd", [0.008, 0.03, 0.12])
def test_the_number_is_the_exact_one_to_within_one(sd):
    found = patients_needed(sd)
    assert power_of_t_test(found + 1, 0.01 / sd) >= 0.8
    assert power_of_t_test(found - 2, 0.01 / sd) < 0.8


def test_what_so_many_patients_resolve_needs_so_many():
    for patients in (5, 40, 300):
        difference = difference_resolved(patients, 0.05)
        assert patients_needed(0.05, difference=difference * (1 + 1e-9)) == patients
    assert difference_resolved(1, 0.05) == math.inf


def test_the_spread_is_that_of_the_patients_differences():
    differences = np.array([0.0, 0.02, 0.04, 0.06])
    rows = rows_of({"A": tuple(0.5 + differences)}) + rows_of({"A": (0.5,) * 4 + (0.9,)}, model="theirs")
    values = pool(rows, modalities=AB)
    (found,) = resolutions(values, [("ours", "theirs")], columns=[Column("A", ((0,),))])
    assert (found.patients, found.sd) == (4, pytest.approx(differences.std(ddof=1)))
    assert found.needed == patients_needed(found.sd)
    patients = {"c1": "c0", "c3": "c2"}
    (found,) = resolutions(values, [("ours", "theirs")], columns=[Column("A", ((0,),))], patients=patients)
    assert (found.patients, found.sd) == (2, pytest.approx(np.std([0.01, 0.05], ddof=1)))


def test_an_average_of_which_a_model_lacks_a_subset_resolves_nothing():
    rows = rows_of({"A": (0.5, 0.6, 0.7)}) + rows_of({"A": (0.4, 0.6, 0.6), "B": (0.5, 0.5, 0.5)}, model="theirs")
    values = pool(rows, modalities=AB)
    alone, average = resolutions(
        values, [("ours", "theirs")], columns=[Column("A", ((0,),)), Column("all", ((0,), (1,)))]
    )
    assert alone.patients == 3
    assert (average.patients, math.isnan(average.needed)) == (0, True)


def test_one_patient_resolves_nothing_and_equal_models_need_two():
    rows = rows_of({"A": (0.5,)}) + rows_of({"A": (0.4,)}, model="theirs")
    (found,) = resolutions(pool(rows, modalities=AB), [("ours", "theirs")], columns=[Column("A", ((0,),))])
    assert math.isnan(found.sd)
    assert math.isnan(found.needed)
    assert patients_needed(0.0) == 2
    with pytest.raises(ValueError, match="above 0, got 0.1 and 0"):
        patients_needed(0.1, difference=0)
