"""Calibrates the uncertainty of single cases on an evaluation: agreement and Dice of every prediction of its cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from nnunet_missingmod.benchmarking.store import PredictionSettings
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.evaluation.agreement import Agreement, AgreementRow
from nnunet_missingmod.evaluation.agreement_regression import Observations
from nnunet_missingmod.evaluation.conformal import Calibration, HeldOut, calibrate, held_out
from nnunet_missingmod.evaluation.conventions import DICE, Convention
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.evaluation.uncertainty import CalibratedKind
from nnunet_missingmod.modalities import subset_name

if TYPE_CHECKING:
    from nnunet_missingmod.benchmarking.scoring import ToScore

AgreementOfKinds: TypeAlias = "Mapping[str, Mapping[ToScore, Agreement]]"
"""{kind of agreement: {prediction: its agreement}}."""


def agreement_rows(agreement: AgreementOfKinds, task: Task, predictions: Sequence[ToScore]) -> list[AgreementRow]:
    """Return a row for each kind, prediction and region of the task, in this order, where agreement is known."""
    return [
        AgreementRow(
            model=each.model,
            fold=each.fold,
            case=each.case,
            subset=subset_name(each.subset, task.modalities),
            num_present=len(each.subset),
            region=region,
            kind=kind,
            agreement=of_kind[each][region],
        )
        for kind, of_kind in agreement.items()
        for each in predictions
        if each in of_kind
        for region in task.regions
        if region in of_kind[each]
    ]


def measure(
    rows: Iterable[ScoreRow],
    agreement: Iterable[AgreementRow],
    *,
    convention: Convention,
    patients: Mapping[str, str] | None = None,
    leave_out: Iterable[str] = (),
) -> dict[str, dict[tuple[int, str], HeldOut]]:
    """Return {kind: {(number of modalities present, region): intervals of the cases themselves}} of one model.

    Args:
        rows: the scores of the model.
        agreement: of the model's predictions; those without a score, or whose Dice is undefined, are left out.
        convention: what empty masks score.
        patients: maps cases to patients; a case that it does not name is its own patient.
        leave_out: cases that the model may have been trained on.
    """
    dice = {(row.fold, row.case, row.subset, row.region): convention.value(row, DICE) for row in rows}
    without = frozenset(leave_out)
    entries: defaultdict[str, defaultdict[tuple[int, str], list[tuple[str, str, float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in agreement:
        key = row.fold, row.case, row.subset, row.region
        if key in dice and row.case not in without:
            patient = (patients or {}).get(row.case, row.case)
            entries[row.kind][row.num_present, row.region].append((patient, row.subset, row.agreement, dice[key]))
    return {
        kind: {group: held_out(Observations.of(each)) for group, each in sorted(groups.items(), key=lambda i: i[0][0])}
        for kind, groups in entries.items()
    }


def calibrated(
    measured: Mapping[str, Mapping[tuple[int, str], HeldOut]],
    folds_together: Collection[int],
    settings: PredictionSettings,
    *,
    regions: Sequence[str],
) -> dict[str, CalibratedKind]:
    """Return the calibrations of one model by kind, for its card; none if its cases were predicted in several ways.

    Args:
        measured: by `measure`.
        folds_together: how many folds predicted a case, the different numbers of them.
        settings: of the predictions.
        regions: each has a calibration in every group.
    """
    if len(folds_together) != 1:
        return {}
    kinds = {}
    for kind, of_kind in measured.items():
        groups: dict[int, dict[str, Calibration]] = {}
        for number in sorted({number for number, _ in of_kind}):
            groups[number] = {
                region: calibrate(of_kind[number, region]) if (number, region) in of_kind else Calibration(0, 0)
                for region in regions
            }
        kinds[kind] = CalibratedKind(min(folds_together), settings.tile_step_size, settings.mirroring, groups)
    return kinds
