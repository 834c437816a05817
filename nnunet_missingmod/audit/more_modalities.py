"""How often a further modality makes a segmentation worse, from scores that were measured.

``more`` of an audit. ``evaluate`` writes the scores; its report has the same numbers, see `monotonicity`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan

from nnunet_missingmod.audit.finding import NOT_APPLICABLE, NOTE, Finding
from nnunet_missingmod.evaluation.aggregation import CaseValues, pool
from nnunet_missingmod.evaluation.monotonicity import drops
from nnunet_missingmod.evaluation.scores import ScoreRow

_UNIT = "share of (case, S, S+q) in which S+q has over a point of Dice less than S"
_NO_SCORES = (
    "It takes measured scores: run nnunet_missingmod evaluate on this model, and give its scores.csv with --scores."
)


def more_check(dice: CaseValues | None) -> Finding:
    """Return the share of drops in the mean of regions; a note, as every trained model has some.

    Args:
        dice: of one model, or None if nothing was measured.
    """
    if dice is None:
        return Finding("more", "", NOT_APPLICABLE, None, _UNIT, _NO_SCORES)
    found = drops(dice, regions={"": dice.regions})
    if not found or not found[0].pairs:
        return Finding(
            "more", "", NOT_APPLICABLE, None, _UNIT, "No case was scored under a subset and one with a modality more."
        )
    every, *of_modality = found
    share = every.share
    if not share.mean:
        return Finding("more", "", NOTE, 0.0, _UNIT, f"None of {every.pairs:,} pairs drops.")
    limits = "" if isnan(share.low) else f" (95 % interval {100 * share.low:.1f} to {100 * share.high:.1f})"
    worst = max((each for each in of_modality if each.pairs), key=lambda each: each.share.mean)
    meaning = (
        f"Of {every.pairs:,} pairs {100 * share.mean:.1f} %{limits} drop, most often where {worst.modality} is added "
        f"({100 * worst.share.mean:.1f} % of {worst.pairs:,})."
    )
    return Finding("more", "", NOTE, share.mean, _UNIT, meaning)


def dice_of(rows: Iterable[ScoreRow], *, model: str | None, modalities: Sequence[str]) -> CaseValues:
    """Return the Dice of one model's score rows, each case once: folds and seeds that scored it are averaged.

    What empty masks score is the convention that suits the regions.

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
    return pool([row for row in rows if model in (None, row.model)], modalities=modalities)
