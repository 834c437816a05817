"""The cards of an evaluation's models, written into their folders; ``report`` calls it.

A card goes with its model: what it says of cases names no path of this machine.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunet_missingmod.benchmarking.parts import Part
from nnunet_missingmod.benchmarking.store import PredictionSettings
from nnunet_missingmod.benchmarking.uncertainty import calibrated
from nnunet_missingmod.evaluation.conventions import Convention
from nnunet_missingmod.evaluation.model_card import FILE_NAME, ModelCard, make_card, read_card, write_card
from nnunet_missingmod.evaluation.report.reliability import Measured
from nnunet_missingmod.evaluation.scores import ScoreRow

EARLIER = "missingmod_card_earlier.json"
logger = logging.getLogger(__name__)


def write_cards(
    evaluation: Part,
    rows: Sequence[ScoreRow],
    provenance: Mapping[str, str],
    patients: Mapping[str, str] | None,
    convention: Convention,
    uncertainty: Mapping[str, Mapping[str, Measured]],
) -> tuple[list[str], list[str]]:
    """Write a card into each model's folder; return a line for each, and one for each that could not be written.

    Cases that a model may have been trained on are left out: what to expect of further patients is not seen on them.
    A card of the same weights that was measured on more patients is kept beside the new one, as `EARLIER`.
    """
    lines, problems = [], []
    for model, folder in evaluation.shared.models.items():
        seen = set(evaluation.seen.get(model, ()))
        of_model = [row for row in rows if row.model == model and row.case not in seen]
        if not of_model and any(row.model == model for row in rows):
            logger.warning("No model card of %s: every case has the name of one that it was trained on.", model)
        if not of_model:
            continue
        left_out = {"cases": f"{provenance['cases']}, without those of training cases' names"} if seen else {}
        try:
            card = make_card(
                of_model,
                modalities=evaluation.shared.task.modalities,
                convention=convention,
                patients=patients,
                provenance={
                    **{key: value for key, value in provenance.items() if not _is_of_here(key)},
                    **left_out,
                    "predicted": {
                        "folds_together": list(evaluation.folds_together.get(model, ())),
                        **evaluation.shared.settings,
                    },
                    "weights": dict(evaluation.weights[model]),
                },
                uncertainty=calibrated(
                    uncertainty[model],
                    evaluation.folds_together.get(model, ()),
                    PredictionSettings(**evaluation.shared.settings),
                    regions=list(evaluation.shared.task.regions),
                ),
            )
        except ValueError as error:  # of a model of some modalities, with more subsets than a card fills up
            logger.warning("No model card of %s: %s", model, error)
            continue
        path = Path(folder) / FILE_NAME
        try:
            _keep_earlier(path, card)
            write_card(card, path)
        except OSError as error:
            problems.append(
                f"{model}: its card cannot be written to {path}: {error.strerror or error}. Evaluate a copy of the "
                "model's folder that can be written to; the scores are kept."
            )
        else:
            lines.append(f"Card of {model}, which goes with the model: {path}")
    return lines, problems


def _is_of_here(key: str) -> bool:
    """Return whether an entry of the report's provenance names paths of this machine, or weights of other models."""
    return key == "command" or key.startswith("weights of ") or key.endswith(" is from outside")


def _keep_earlier(path: Path, card: ModelCard) -> None:
    """Copy the card that is there, if it is of the same weights and of more patients than the new one.

    A copy of more patients than that stays.

    Raises:
        OSError: it cannot be copied.
    """
    copy, weights = path.with_name(EARLIER), card.provenance["weights"]
    here = card.provenance["bootstrap"]["patients"]
    there, before = _patients(path, weights), _patients(copy, weights)
    if there <= here:
        return
    if there > before:
        shutil.copyfile(path, copy)
    logger.warning(
        "%s was measured on %d patients, the new one on %d: one of %d is kept beside it as %s. Move it back if it is "
        "the one that predictions are to go by.",
        path,
        there,
        here,
        max(there, before),
        EARLIER,
    )


def _patients(file: Path, weights: Mapping[str, str]) -> int:
    """Return how many patients a card was measured on, 0 if it is none of any fold with these weights."""
    try:
        found = read_card(file).provenance
        is_same = any(found["weights"].get(fold) == key for fold, key in weights.items())
        return int(found["bootstrap"]["patients"]) if is_same else 0
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0
