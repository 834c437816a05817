"""How often a further modality makes a segmentation worse, from scores that were measured.

``more`` of an audit. ``evaluate`` writes the scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan

from nnunet_missingmod.audit.finding import NOT_APPLICABLE, NOTE, Finding
from nnunet_missingmod.evaluation.aggregation import pool
from nnunet_missingmod.evaluation.conventions import DICE
from nnunet_missingmod.evaluation.monotonicity import POINTS
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import Subset, subset_name

POINT = POINTS / DICE.factor
"""A point of Dice."""
_UNIT = "share of steps from S to S+q, over cases, that lose more than a point of Dice"
_NO_SCORES = (
    "It takes measured scores: run nnunet_missingmod evaluate on this model, and give its scores.csv with --scores."
)


def losing_steps(
    dice: Mapping[Subset, Mapping[str, float]], *, margin: float = POINT
) -> dict[tuple[Subset, int], tuple[int, int]]:
    """Return {(S, q): (steps that lose, steps)}: how often S+q has less Dice than S by more than the margin.

    A step is a case that has a defined Dice under both S and S+q.

    Args:
        dice: {subset: {case: Dice in 0..1, or NaN}}.
        margin: in the unit of Dice.
    """
    counted = {}
    channels = sorted({channel for subset in dice for channel in subset})
    for subset, before in dice.items():
        for added in channels:
            more = tuple(sorted((*subset, added)))
            if added in subset or more not in dice:
                continue
            gains = [dice[more][case] - value for case, value in before.items() if case in dice[more]]
            gains = [gain for gain in gains if not isnan(gain)]
            # Differences of rounded numbers: 0.80 - 0.81 is a little more than a point.
            losing = sum(gain < -margin - 1e-9 for gain in gains)
            counted[subset, added] = (losing, len(gains))
    return counted


def more_check(dice: Mapping[Subset, Mapping[str, float]] | None, names: Sequence[str]) -> Finding:
    """Return the share of steps that lose more than a point; a note, as every trained model loses some."""
    if dice is None:
        return Finding("more", "", NOT_APPLICABLE, None, _UNIT, _NO_SCORES)
    counted = {step: numbers for step, numbers in losing_steps(dice).items() if numbers[1]}
    total = sum(steps for _, steps in counted.values())
    if not total:
        return Finding(
            "more", "", NOT_APPLICABLE, None, _UNIT, "No case was scored under a subset and one with a modality more."
        )
    losing = sum(number for number, _ in counted.values())
    if not losing:
        return Finding("more", "", NOTE, 0.0, _UNIT, f"Of {total} steps none loses more than a point.")
    (subset, added), (number, of) = max(counted.items(), key=lambda step: step[1][0] / step[1][1])
    return Finding(
        "more",
        "",
        NOTE,
        losing / total,
        _UNIT,
        f"Of {total} steps {losing} lose more than a point, most often {names[added]} beside "
        f"{subset_name(subset, names)} ({number} of {of} cases).",
    )


def dice_by_subset(
    rows: Iterable[ScoreRow], *, model: str | None, modalities: Sequence[str]
) -> dict[Subset, dict[str, float]]:
    """Return {subset: {case: mean Dice over the regions}} of one model's score rows, each case once.

    What empty masks score is the convention that suits the regions; regions that it leaves undefined are left out of
    the mean. Folds and seeds that scored the same case are averaged.

    Args:
        rows: of one or several models.
        model: its name in the rows; None if they are of one model.
        modalities: names in channel order.

    Raises:
        ValueError: the rows are of several models and none is named, or of other models; or see `pool`.
    """
    rows = list(rows)
    models = list(dict.fromkeys(row.model for row in rows))
    if model is None and len(models) > 1:
        raise ValueError(f"The scores are of {', '.join(models)}: say which is this one, as NAME=FILE.")
    if model is not None and model not in models:
        raise ValueError(f"There are no scores of {model!r}, only of {', '.join(models) or 'no model'}.")
    values = pool([row for row in rows if model in (None, row.model)], modalities=modalities)
    found: dict[Subset, dict[str, float]] = {}
    for column, subset in enumerate(values.subsets):
        found[subset] = {}
        for line, case in enumerate(values.cases):
            scores = [float(array[line, column]) for array in values.arrays.values()]
            defined = [score for score in scores if not isnan(score)]
            if defined:
                found[subset][case] = sum(defined) / len(defined)
    return found
