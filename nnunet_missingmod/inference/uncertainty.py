"""The Dice to expect of one case, from how well its predictions agree, by what ``evaluate`` calibrated for the model.

``Predictor`` asks it which kinds of agreement to compute, and puts its intervals beside the expected Dice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.cases.memory import MemoryImage
from nnunet_missingmod.evaluation.agreement import (
    FOLDS,
    KINDS,
    SUBSETS,
    Agreement,
    CroppedLabels,
    agreement_with,
    pairwise_agreement,
)
from nnunet_missingmod.evaluation.conformal import CONFIDENCES, CaseInterval, least_patients
from nnunet_missingmod.evaluation.conventions import evaluated_regions
from nnunet_missingmod.evaluation.intervals import Interval
from nnunet_missingmod.evaluation.metrics import LabelMap
from nnunet_missingmod.evaluation.model_card import ModelCard
from nnunet_missingmod.evaluation.report.text import interval_text
from nnunet_missingmod.evaluation.uncertainty import CalibratedKind
from nnunet_missingmod.inference.model_folder import ModelFolder
from nnunet_missingmod.modalities import subset_name

_WORDS = {FOLDS: "by the agreement of its folds", SUBSETS: "by its agreement with one modality less"}


class CaseUncertainty:
    """What a model's card tells of single cases.

    A kind of agreement is used only if the card was calibrated on predictions that were made as those here are: by as
    many folds together, with the same sliding window. Otherwise nothing is known of how far its intervals are right.

    Args:
        card: of the model.
        model: opened with the folds that predict.
        tile_step_size, mirroring: of the sliding window.

    Attributes:
        usable: the calibrations that hold here, by kind.
        reasons: why the others do not, by kind, as clauses.
        regions: {name: labels}.
    """

    def __init__(self, card: ModelCard, model: ModelFolder, *, tile_step_size: float, mirroring: bool) -> None:
        self.modalities = card.modalities
        self.folds = len(model.folds)
        self.regions = {
            name: labels for name, labels in evaluated_regions(model.dataset_json).items() if name in card.regions
        }
        self.usable: dict[str, CalibratedKind] = {}
        self.reasons: dict[str, str] = {}
        for kind in KINDS:
            calibrated = card.uncertainty.get(kind)
            reason = _why_not(kind, calibrated, model, tile_step_size, mirroring)
            if reason is not None:
                self.reasons[kind] = reason
            elif calibrated is not None:
                self.usable[kind] = calibrated

    def of_case(
        self,
        array: LabelMap,
        images: Mapping[str, Path | MemoryImage],
        present: Sequence[str],
        *,
        of_folds: Sequence[CroppedLabels] = (),
        segment: Callable[[Mapping[str, Path | MemoryImage]], LabelMap] | None = None,
    ) -> dict[str, Any]:
        """Return the JSON values that go beside a prediction: intervals by kind and region, or why there are none.

        Args:
            array: the prediction.
            images: {modality: file or image in memory} that the case has; blank ones may be among them.
            present: the modalities that it was predicted from.
            of_folds: the label map of each fold, if there are several.
            segment: predicts the case from some of its images; None if none is to be left out.
        """
        agreement: dict[str, Agreement | str] = {}
        if self.folds > 1:
            known = FOLDS in self.usable
            agreement[FOLDS] = pairwise_agreement(of_folds, self.regions) if known else self.reasons[FOLDS]
        if segment is not None:
            used = {name: file for name, file in images.items() if name in present}
            agreement[SUBSETS] = self._with_one_less(array, used, present, segment)
        return {kind: self._as_json(kind, each, present) for kind, each in agreement.items()}

    def _with_one_less(
        self,
        array: LabelMap,
        used: Mapping[str, Path | MemoryImage],
        present: Sequence[str],
        segment: Callable[[Mapping[str, Path | MemoryImage]], LabelMap],
    ) -> Agreement | str:
        if SUBSETS not in self.usable:
            return self.reasons[SUBSETS]
        if len(present) < 2:
            return "it has one modality, and none can be left out"
        if len(used) < len(present):
            return "its modalities are in one file"
        others = []
        for left_out in used:
            try:
                others.append(CroppedLabels.of(segment({name: used[name] for name in used if name != left_out})))
            except CaseRefusedError as error:
                return f"without {left_out}, {error.problem}"
        return agreement_with(CroppedLabels.of(array), others, self.regions)

    def _as_json(self, kind: str, agreement: Agreement | str, present: Sequence[str]) -> dict[str, Any]:
        if isinstance(agreement, str):
            return {"reason": agreement}
        subset = subset_name([self.modalities.index(name) for name in present], self.modalities)
        intervals = self.usable[kind].intervals(subset, len(present), agreement)
        unseen = f"no evaluated case has {len(present)} modalities"
        return {
            "regions": {
                region: {"agreement": value, **_interval_as_json(intervals.get(region, unseen))}
                for region, value in agreement.items()
            }
        }


def describe(this_case: Mapping[str, Any]) -> str:
    """Return what `CaseUncertainty.of_case` returned as sentences, Dice in percent; an empty text if it is empty.

    Why the folds tell nothing of any case is left out: it is said once.
    """
    said = {kind: each for kind, each in this_case.items() if kind != FOLDS or "regions" in each}
    return " ".join(_described(kind, each) for kind, each in said.items())


def warnings_of(this_case: Mapping[str, Any]) -> list[str]:
    """Return a clause for each region on which the predictions agree less than on any case of the calibration."""
    return [
        f"{region} is agreed on less ({each['agreement']:.2f}) than in any evaluated case, {_WORDS[kind]}"
        for kind, of_kind in this_case.items()
        for region, each in of_kind.get("regions", {}).items()
        if each.get("outside") == "below"
    ]


def _described(kind: str, content: Mapping[str, Any]) -> str:
    if "reason" in content:
        return f"No interval of this case {_WORDS[kind]}: {content['reason']}."
    texts, confidences = [], set()
    for region, each in content["regions"].items():
        if "reason" in each:
            texts.append(f"{region} none, because {each['reason']}")
        else:
            texts.append(f"{region} {interval_text(Interval(each['dice'], each['low'], each['high'], 1))}")
            confidences.add(each["confidence"])
    promised = " or ".join(f"{100 * each:g}" for each in sorted(confidences))
    return f"This case {_WORDS[kind]}{f' ({promised} % interval)' if promised else ''}: {', '.join(texts)}."


def _interval_as_json(found: CaseInterval | str) -> dict[str, Any]:
    return {"reason": found} if isinstance(found, str) else found._asdict()


def _why_not(
    kind: str, calibrated: CalibratedKind | None, model: ModelFolder, tile_step_size: float, mirroring: bool
) -> str | None:
    """Return why the calibrations of a kind do not hold for predictions that are made here, or None if they do."""
    here = len(model.folds)
    together = "evaluate the model on a test folder (-i, -ref), whose cases its folds predict together"
    if kind == FOLDS and here == 1:
        return "one fold predicts"
    if kind == SUBSETS and model.configuration_manager.previous_stage_name is not None:
        return "the previous stage of the cascade has predicted from all modalities of the case only"
    if calibrated is None:
        fix = together if here > 1 else "evaluate it again"
        return f"the model's card knows nothing of the agreement of {'folds' if kind == FOLDS else 'subsets'}: {fix}"
    if calibrated.folds != here:
        fix = f"{together}, or " if calibrated.folds == 1 else ""
        return (
            f"the card is of predictions by {calibrated.folds} fold{'s' * (calibrated.folds > 1)}, here {here} "
            f"predict{'s' * (here == 1)}: {fix}predict with as many folds (-f)"
        )
    if (calibrated.tile_step_size, calibrated.mirroring) != (tile_step_size, mirroring):
        return (
            f"the card is of predictions with a step of {calibrated.tile_step_size:g} and "
            f"{'with' if calibrated.mirroring else 'without'} mirroring, here the step is {tile_step_size:g} and "
            f"mirroring is {'on' if mirroring else 'off'}: evaluate and predict with the same (-step_size, "
            "--disable_tta)"
        )
    if not calibrated.has_any:
        fewest = min(CONFIDENCES)
        return (
            f"the model was evaluated on too few patients: an interval of {100 * fewest:g} % needs "
            f"{least_patients(fewest)}"
        )
    return None
