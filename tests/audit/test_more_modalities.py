"""Steps to one modality more that lose Dice, counted by hand, and read from scores."""

from __future__ import annotations

from math import nan

import pytest

from nnunet_missingmod.audit.more_modalities import dice_by_subset, losing_steps, more_check
from nnunet_missingmod.evaluation.scores import ScoreRow

NAMES = ("FLAIR", "T1")
DICE = {
    (0,): {"a": 0.80, "b": 0.50, "c": 0.7, "d": nan},
    (1,): {"a": 0.60, "b": 0.55, "d": 0.2},
    (0, 1): {"a": 0.78, "b": 0.54, "c": 0.7, "d": 0.9},
}


def rows(model="m", fold="0"):
    return [
        ScoreRow(model, fold, case, "+".join(NAMES[c] for c in subset), len(subset), region, dice, 1, 1, 1, 9, 9, 30)
        for subset, of_cases in DICE.items()
        for case, dice in of_cases.items()
        for region in ("WT", "TC")
    ]


def test_steps_are_counted_over_cases_with_both_scores():
    # From FLAIR: a loses 2 points, b gains, c stays. From T1: a and d gain, b loses one point, which is not more.
    assert losing_steps(DICE) == {((0,), 1): (1, 3), ((1,), 0): (0, 3)}
    assert losing_steps(DICE, margin=0.005) == {((0,), 1): (1, 3), ((1,), 0): (1, 3)}


def test_only_steps_by_one_modality_count():
    assert losing_steps({(0,): {"a": 0.9}, (0, 1, 2): {"a": 0.1}, (1, 2): {"a": 0.1}}) == {((1, 2), 0): (0, 1)}


def test_the_finding_has_the_share_and_names_the_worst_step():
    found = more_check(DICE, NAMES)
    assert (found.result, found.number) == ("note", pytest.approx(1 / 6))
    assert "Of 6 steps 1 lose" in found.meaning
    assert "T1 beside FLAIR (1 of 3 cases)" in found.meaning


def test_without_a_loss_without_steps_and_without_scores():
    assert more_check({(0,): {"a": 0.1}, (0, 1): {"a": 0.2}}, NAMES).number == 0
    assert more_check({(0,): {"a": 0.1}, (0, 1): {"b": 0.2}}, NAMES).result == "does not apply"
    assert more_check({(0,): {"a": 0.1}}, NAMES).result == "does not apply"
    assert "nnunet_missingmod evaluate" in more_check(None, NAMES).meaning


def test_scores_are_averaged_over_regions_and_folds():
    found = dice_by_subset([*rows(), *rows(fold="1")], model=None, modalities=NAMES)
    assert found[0, 1]["a"] == pytest.approx(0.78)
    assert "d" not in found[(0,)]
    assert losing_steps(found) == losing_steps(DICE)


def test_of_several_models_one_is_named():
    both = [*rows(), *rows("other")]
    assert dice_by_subset(both, model="other", modalities=NAMES).keys() == set(DICE)
    with pytest.raises(ValueError, match="of m, other: say which"):
        dice_by_subset(both, model=None, modalities=NAMES)
    with pytest.raises(ValueError, match="no scores of 'x', only of m, other"):
        dice_by_subset(both, model="x", modalities=NAMES)
    with pytest.raises(ValueError, match="no subset of T2"):
        dice_by_subset(rows(), model=None, modalities=["T2"])
