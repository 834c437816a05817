"""Steps to one modality more that lose Dice, counted by hand, and read from scores."""

from __future__ import annotations

from math import nan

import pytest

from nnunet_missingmod.audit.more_modalities import dice_of, more_check
from nnunet_missingmod.evaluation.scores import ScoreRow

NAMES = ("FLAIR", "T1")
# From FLAIR: a loses 2 points, b gains, c stays. From T1: a and d gain, b loses one point, which is not more.
DICE = {
    (0,): {"a": 0.80, "b": 0.50, "c": 0.7, "d": nan},
    (1,): {"a": 0.60, "b": 0.55, "d": 0.2},
    (0, 1): {"a": 0.78, "b": 0.54, "c": 0.7, "d": 0.9},
}


def rows(dice=DICE, *, model="m", fold="0"):
    return [
        ScoreRow(model, fold, case, "+".join(NAMES[c] for c in subset), len(subset), region, dice, 1, 1, 1, 9, 9, 30)
        for subset, of_cases in dice.items()
        for case, dice in of_cases.items()
        for region in ("WT", "TC")
    ]


def check(dice):
    return more_check(dice_of(rows(dice), model=None, modalities=NAMES))


def test_the_finding_has_the_share_and_the_worst_modality_and_with_enough_cases_an_interval():
    found = check(DICE)
    assert (found.result, found.number) == ("note", pytest.approx(1 / 6))
    assert found.meaning == "Of 6 pairs 16.7 % drop, most often where T1 is added (33.3 % of 3)."
    many = {
        subset: {f"{case}{copy}": dice for case, dice in of_cases.items() for copy in range(7)}
        for subset, of_cases in DICE.items()
    }
    assert check(many).meaning.startswith("Of 42 pairs 16.7 % (95 % interval ")


def test_one_case_has_no_interval():
    assert check({(0,): {"a": 0.5}, (0, 1): {"a": 0.4}}).meaning == (
        "Of 1 pairs 100.0 % drop, most often where T1 is added (100.0 % of 1)."
    )


def test_without_a_loss_without_steps_and_without_scores():
    assert check({(0,): {"a": 0.1}, (0, 1): {"a": 0.2}}).number == 0
    assert check({(0,): {"a": 0.1}, (0, 1): {"b": 0.2}}).result == "does not apply"
    assert check({(0,): {"a": 0.1}}).result == "does not apply"
    assert "nnunet_missingmod evaluate" in more_check(None).meaning


def test_folds_that_scored_a_case_are_averaged():
    both = [*rows({(0,): {"a": 0.8}, (0, 1): {"a": 0.785}}), *rows({(0,): {"a": 0.8}, (0, 1): {"a": 0.8}}, fold="1")]
    assert more_check(dice_of(both, model=None, modalities=NAMES)).number == 0  # 0.75 points on average


def test_of_several_models_one_is_named():
    both = [*rows(), *rows(model="other")]
    assert dice_of(both, model="other", modalities=NAMES).models == ("other",)
    with pytest.raises(ValueError, match="of m, other: say which"):
        dice_of(both, model=None, modalities=NAMES)
    with pytest.raises(ValueError, match="no scores of 'x', only of m, other"):
        dice_of(both, model="x", modalities=NAMES)
    with pytest.raises(ValueError, match="no subset of T2"):
        dice_of(rows(), model=None, modalities=["T2"])
