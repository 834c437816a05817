"""A regression that pools what falls, never falls itself, and knows how hard a subset is."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.evaluation.agreement_regression import AgreementRegression, Observations


def expect(regression, subsets, agreement):
    return regression.expect(subsets, np.arange(len(subsets)), np.array(agreement))


def test_the_regression_pools_what_falls_and_averages_ties_by_hand():
    # Agreement 0.2, 0.4, 0.6, 0.8 with Dice 0.1, 0.7, 0.5, and 0.6 and 0.8: 0.7 and 0.5 are pooled.
    seen = Observations.of(
        [("a", "S", 0.2, 0.1), ("b", "S", 0.4, 0.7), ("c", "S", 0.6, 0.5), ("d", "S", 0.8, 0.6), ("e", "S", 0.8, 0.8)]
    )
    found = AgreementRegression.fit(seen)
    expected = expect(found, ["S"] * 6, [0.0, 0.2, 0.3, 0.5, 0.8, 1.0])
    assert expected == pytest.approx([0.1, 0.1, 0.35, 0.6, 0.7, 0.7])


def test_the_regression_adds_what_agreement_tells_to_the_mean_of_the_subset():
    pairs = ((0.4, 0.2), (0.6, 0.4))
    easy = [(f"p{i}", "T1ce", a + 0.3, d + 0.5) for i, (a, d) in enumerate(pairs)]
    hard = [(f"p{i}", "T1", a, d) for i, (a, d) in enumerate(pairs)]
    found = AgreementRegression.fit(Observations.of([*easy, *hard]))
    assert expect(found, ["T1", "T1ce"], [0.5, 0.8]) == pytest.approx([0.3, 0.8])
    assert np.isnan(expect(found, ["T2"], [0.5]))


def test_more_agreement_never_means_less_dice():
    rng = np.random.default_rng(3)
    entries = [(f"p{i // 4:02d}", str(i % 2), *rng.uniform(0, 1, 2)) for i in range(60)]
    seen = Observations.of(entries)
    found = AgreementRegression.fit(seen)
    for subset in ("0", "1"):
        expected = expect(found, [subset] * 200, np.linspace(0, 1, 200))
        assert (np.diff(expected) >= 0).all()
        assert expected.min() >= 0
        assert expected.max() <= 1


def test_no_observation_has_no_regression():
    with pytest.raises(ValueError, match="needs observations"):
        AgreementRegression.fit(Observations.of([]))


def test_a_patient_is_in_one_part_with_all_its_cases():
    seen = Observations.of([(f"p{i % 25:02d}", "S", 0.5, 0.5) for i in range(75)])
    parts = seen.parts(5)
    assert len(set(parts)) == 5
    assert all(len(set(parts[seen.patients == patient])) == 1 for patient in range(25))
