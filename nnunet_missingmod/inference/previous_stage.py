"""The previous stage's prediction of a case, which the second stage of a cascade goes on from."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.evaluation.model_card import ModelCard, weights_key
from nnunet_missingmod.inference.model_folder import ModelFolder, fingerprint_of_folds
from nnunet_missingmod.inference.prediction import FINGERPRINTS, SIDECAR_ENDING
from nnunet_missingmod.storage import file_fingerprint, read_json_object


def check_previous_stage(model: ModelFolder, case: str, previous_stage: Path | None) -> None:
    """Check that there is a previous stage's prediction exactly where the model needs one.

    Raises:
        CaseRefusedError: it is missing, or the model has no previous stage.
    """
    stage = model.configuration_manager.previous_stage_name
    if stage is not None and previous_stage is None:
        raise CaseRefusedError(
            case,
            f"{model.configuration} is the second stage of a cascade and needs the prediction of {stage} "
            "(previous_stage, or -prev_stage_predictions FOLDER).",
        )
    if stage is None and previous_stage is not None:
        raise CaseRefusedError(case, f"{model.configuration} has no previous stage; leave {previous_stage} out.")


def why_unmeasured(card: ModelCard, model: ModelFolder, previous_stage: Path, present: Collection[str]) -> str | None:
    """Return why the card does not tell what to expect of a case's second stage, as a clause; None if it does.

    ``evaluate`` measures both stages together, the first from the same modalities. So the card holds for a prediction
    of the first stage by the same weights, of any of the folds, from the modalities that the case has. ``predict``
    writes beside each prediction what made it.

    Args:
        card: of the second stage's model.
        model: the second stage's.
        previous_stage: the first stage's prediction of the case.
        present: the names of the modalities that the second stage uses.
    """
    stage = model.configuration_manager.previous_stage_name
    weights = card.provenance["weights"]
    if all(weights_key(fold, stage) not in weights for fold in model.folds):
        return (
            f"the model's card is of an earlier version, which does not say by which weights of {stage} it was "
            "measured: evaluate the model again"
        )
    case = previous_stage.name.removesuffix(model.file_ending)
    try:
        sidecar = read_json_object(previous_stage.with_name(f"{case}{SIDECAR_ENDING}"))
        is_that = sidecar[FINGERPRINTS][previous_stage.name] == file_fingerprint(previous_stage)
        used, made_by = set(sidecar["present"]), sidecar["made_from"]["model"]
        measured = {str(fold): weights.get(weights_key(fold, stage)) for fold in made_by["folds"]}
        same_weights = None not in measured.values() and made_by["fingerprint"] == fingerprint_of_folds(measured)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        is_that = False
    if not is_that:
        return (
            f"it is not known which model made {previous_stage}, without which the model's card tells nothing: make "
            "it by nnunet_missingmod predict, which writes that beside it"
        )
    if not same_weights:
        return (
            f"{previous_stage} was made by other weights of {stage} than those that the model was evaluated with, so "
            "that its card tells nothing"
        )
    if used != set(present):
        return (
            f"{previous_stage} was made from {'+'.join(sidecar['present'])}, and the card's Dice with "
            f"{'+'.join(sorted(present))} was measured with a previous stage from {'+'.join(sorted(present))} alone"
        )
    return None
