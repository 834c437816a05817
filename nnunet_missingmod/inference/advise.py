"""The accuracy to expect of a model's predictions, from the model card that ``evaluate`` wrote into its folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from nnunet_missingmod.errors import listed
from nnunet_missingmod.evaluation.model_card import FILE_NAME, Advice, ModelCard, read_card
from nnunet_missingmod.evaluation.report.text import interval_text
from nnunet_missingmod.inference.model_folder import ModelFolder

logger = logging.getLogger(__name__)


class ExpectedAccuracy:
    """The measured Dice of one model for each subset of modalities that a case may have.

    ``made_otherwise`` says how the measured predictions were made, if those here are made by another number of folds or
    another sliding window; else it is None.
    """

    def __init__(self, card: ModelCard, *, made_otherwise: str | None = None) -> None:
        self.card = card
        self.made_otherwise = made_otherwise

    @classmethod
    def of_model(cls, model: ModelFolder, *, window: Mapping[str, Any] | None = None) -> ExpectedAccuracy | None:
        """Return the accuracy in the card of the model's folder, or None if there is no valid card.

        A card is not valid if it was measured with other weights (the model was trained again) or other modalities, or
        cannot be read. Then a warning is logged, because a prediction is useful without an expected accuracy.

        Args:
            model: opened with the folds that predict.
            window: ``tile_step_size`` and ``mirroring`` of the predictions; None if none is made.
        """
        file = Path(model.folder) / FILE_NAME
        if not os.path.lexists(file):
            return None
        try:
            card = read_card(file)
        except ValueError as error:
            logger.warning("%s", error)
            return None
        weights = card.provenance.get("weights")
        measured = weights if isinstance(weights, Mapping) else {}
        if card.modalities != model.modalities or any(
            measured.get(fold) != fingerprint for fold, fingerprint in model.fold_fingerprints.items()
        ):
            logger.warning(
                "%s is of other weights than those of fold %s: evaluate the model again to know what to expect.",
                file,
                ", ".join(map(str, model.folds)),
            )
            return None
        return cls(card, made_otherwise=None if window is None else _made_otherwise(card, len(model.folds), window))

    def text(self, present: Sequence[str]) -> str:
        """Return one line, ``"FLAIR+T2: expected Dice WT 87.3 (85.1 to 89.0), ET .."``, in percent.

        What differs from the measured predictions is said behind.

        Args:
            present: names of the modalities that the case has, one or more.
        """
        expected = self.card.expected(present)
        of_regions = ", ".join(f"{name} {interval_text(interval)}" for name, interval in expected.regions.items())
        otherwise = "" if self.made_otherwise is None else f" ({self.made_otherwise})"
        return f"{expected.subset}: expected Dice {of_regions}{otherwise}"

    def as_json(self, present: Sequence[str]) -> dict[str, Any]:
        """Return the same Dice in 0..1 and how it was measured, for the JSON file that goes with a prediction."""
        return {
            **self.card.expected(present).as_json(),
            "confidence": self.card.confidence,
            "convention": self.card.convention_text,
            "measured_on": {"cases": len(self.card.cases), "which": self.card.provenance.get("cases")},
            "made_otherwise": self.made_otherwise,
        }


def _made_otherwise(card: ModelCard, folds: int, window: Mapping[str, Any]) -> str | None:
    """Return how the measured predictions differ from those by so many folds and such a window, or None."""
    made = card.provenance.get("predicted")
    if not isinstance(made, Mapping):  # of an earlier version, which did not keep it
        return None
    parts = []
    together = made.get("folds_together")
    if together and together != [folds]:
        numbers = together if isinstance(together, list) else []
        by = "one fold each" if numbers == [1] else f"{listed(numbers)} folds together"
        parts.append(f"by {by}, here by {folds}")
    if made.get("tile_step_size") != window["tile_step_size"]:
        parts.append(f"with a step of {made.get('tile_step_size')}, here of {window['tile_step_size']:g}")
    if made.get("mirroring") != window["mirroring"]:
        parts.append("with mirroring, here without" if made.get("mirroring") else "without mirroring, here with it")
    return f"measured on predictions {', '.join(parts)}" if parts else None


def conclusion(advice: Sequence[Advice]) -> str:
    """Return sentences on which further modality would gain most; ``advice`` as `ModelCard.advise` returns it.

    Of two gains whose intervals overlap the larger is not said to be larger in truth: the card has no test of the two.
    """
    measured = [each for each in advice if not isnan(each.gain.mean)]
    unmeasured = [each.modality for each in advice if isnan(each.gain.mean)]
    if not measured:
        return "What a further modality gains was not measured: no case of the evaluation has one together with these."
    without = f" What {listed(unmeasured)} would gain was not measured: no case has it together with these."
    return _most(measured, are_all=not unmeasured) + (without if unmeasured else "")


def _most(measured: Sequence[Advice], *, are_all: bool) -> str:
    first, *others = measured
    modality, gain = first.modality, first.gain
    if gain.mean <= 0:
        return f"No further modality{'' if are_all else ' that was measured'} gains anything on average."
    if isnan(gain.low):
        return f"{modality} would gain most on average; too few patients were measured for an interval."
    if gain.low <= 0:
        return f"{modality} would gain most on average, but its interval does not exclude 0."
    alike = [each.modality for each in others if not each.gain.high < gain.low]
    if alike:
        return f"{modality} would gain most on average; {listed(alike)} may gain as much."
    return f"{modality} would gain most."
