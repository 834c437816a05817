"""The report's sections on voxels: how well volumes agree, and whether regions are found at all."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isnan, log10

from nnunet_missingmod.evaluation.detection import Detection
from nnunet_missingmod.evaluation.intervals import SHOWN_FROM, SKEWED_FROM, Interval
from nnunet_missingmod.evaluation.lesion_detection import LesionDetection
from nnunet_missingmod.evaluation.lesions import LEAST_OVERLAP
from nnunet_missingmod.evaluation.report.section import Section, SectionTable
from nnunet_missingmod.evaluation.report.text import interval_text, number_text
from nnunet_missingmod.evaluation.shares import SHARES_FROM
from nnunet_missingmod.evaluation.volumes import VolumeAgreement


def volume_section(found: Sequence[VolumeAgreement], *, shown_subsets: Sequence[str]) -> Section:
    """Return bias and limits of agreement of volumes, or why there are none."""
    title = "Do the volumes agree with the reference's?"
    if not found:
        why = (
            "No volumes: the scores do not say how large a voxel is. Pictures of two axes have none, and files of "
            "scores of earlier versions lack the column voxel_mm3; evaluate again to have it."
        )
        return Section("volumes", title, why)
    models = list(dict.fromkeys(each.model for each in found))
    by_row: dict[tuple[str, str], dict[str, VolumeAgreement]] = {}
    for each in found:
        if each.subset in shown_subsets:
            by_row.setdefault((each.region, each.subset), {})[each.model] = each
    body = tuple(
        (
            *row,
            # One for each model if they were scored on other cases.
            " / ".join(dict.fromkeys(number_text(each.reference_ml, decimals=decimals) for each in of_row.values())),
            *(_agreement_text(of_row[model], decimals) if model in of_row else "n/a" for model in models),
        )
        for row, of_row in by_row.items()
        for decimals in [_decimals(*(each.reference_ml for each in of_row.values()))]
    )
    text = (
        "Predicted minus reference volume in mL, all cases, those with an empty reference among them: the mean (bias) "
        f"with its 95 % interval (studentised, from {SKEWED_FROM} patients on), and after the semicolon the limits "
        "between which 95 % of the differences lie if they are normal (Bland and Altman 1986). volumes.csv has every "
        "subset and the intervals of the limits. Of models that were scored on other cases each has its mean reference."
    )
    head = ("region", "subset", "reference (mL)", *models)
    return Section("volumes", title, text, (SectionTable("Bias; limits of agreement (mL)", head, body),))


def _agreement_text(each: VolumeAgreement, decimals: int) -> str:
    bias = _ml_text(each.bias_ml, decimals, signed=True)
    if isnan(each.lower_ml.mean):
        return bias
    ends = (number_text(limit.mean, signed=True, decimals=decimals) for limit in (each.lower_ml, each.upper_ml))
    return f"{bias}; {' to '.join(ends)}"


def _decimals(*volumes_ml: float) -> int:
    """Return with how many decimals volumes are shown: one, and of small ones as many as have two digits of each."""
    smallest = min((volume for volume in volumes_ml if volume > 0), default=1.0)
    return max(1, 1 - floor(log10(smallest)))


def _ml_text(interval: Interval, decimals: int, *, signed: bool = False) -> str:
    mean, low, high = (
        number_text(value, signed=signed, decimals=decimals) for value in (interval.mean, interval.low, interval.high)
    )
    return mean if isnan(interval.low) else f"{mean} ({low} to {high})"


def detection_section(found: Sequence[Detection], *, shown_subsets: Sequence[str]) -> Section:
    """Return F1 of presence of each region, and false positives where the reference is empty, or why there are none."""
    title = "Are the regions found, and only where they are?"
    if not found:
        return Section("detection", title, "Not known: the scores do not say how large predictions and references are.")
    models = list(dict.fromkeys(each.model for each in found))
    by_row: dict[tuple[str, str], dict[str, Detection]] = {}
    for each in found:
        if each.subset in shown_subsets:
            by_row.setdefault((each.region, each.subset), {})[each.model] = each

    def body(cells: dict[tuple[str, str], dict[str, Detection]], kind: str) -> tuple[tuple[str, ...], ...]:
        return tuple(
            (
                *row,
                *(_cell(of_row[model], kind) if model in of_row else "n/a" for model in models),
            )
            for row, of_row in cells.items()
        )

    with_empty = {
        row: of_row
        for row, of_row in by_row.items()
        if any(each.false_positives + each.true_negatives for each in of_row.values())
    }
    head = ("region", "subset", *models)
    tables = [SectionTable("F1 of presence (%)", head, body(by_row, "f1"))]
    if with_empty:
        tables.append(
            SectionTable(
                "Of cases whose reference is empty, the share with a prediction (%); mean predicted volume (mL)",
                head,
                body(with_empty, "empty"),
            )
        )
    text = (
        "A region is present if it has a voxel. F1 = 2 TP / (2 TP + FP + FN) counts cases, with its 95 % interval over "
        f"patients (Wilson's, shown from {SHARES_FROM} patients on in whom it is present or predicted). Where the "
        "reference is empty, every predicted voxel is a false positive; the interval of their share is shown from "
        f"{SHARES_FROM} such patients on, that of their volume from {SKEWED_FROM} on. detection.csv has the counts of "
        "every subset. Scores without sizes of predictions and references are left out."
    )
    return Section("detection", title, text, tuple(tables))


def lesion_section(found: Sequence[LesionDetection], *, shown_subsets: Sequence[str]) -> Section | None:
    """Return F1 over lesions and the Dice of those that are found; None where no lesions were counted."""
    if not found:
        return None
    models = list(dict.fromkeys(each.model for each in found))
    by_row: dict[tuple[str, str], dict[str, LesionDetection]] = {}
    for each in found:
        if each.subset in shown_subsets:
            by_row.setdefault((each.region, each.subset), {})[each.model] = each

    def table(caption: str, name: str) -> SectionTable:
        body = tuple(
            (
                *row,
                *(interval_text(getattr(of_row[model], name)) if model in of_row else "n/a" for model in models),
            )
            for row, of_row in by_row.items()
        )
        return SectionTable(caption, ("region", "subset", *models), body)

    text = (
        "A lesion is a connected component. A predicted one that overlaps one of the reference by an intersection over "
        f"union of {LEAST_OVERLAP} or more is matched (panoptica). F1 = 2 matched / (reference + predicted) counts "
        f"lesions, with its 95 % interval over patients, shown from {SHARES_FROM} patients on. The Dice of found "
        f"lesions is the mean over cases that have one, its interval shown from {SHOWN_FROM} on. lesions.csv has the "
        "counts of every subset."
    )
    tables = (table("F1 over lesions (%)", "f1"), table("Dice of found lesions (%)", "lesion_dice"))
    return Section("lesions", "Are single lesions found?", text, tables)


def _cell(each: Detection, kind: str) -> str:
    if kind == "f1":
        return interval_text(each.f1)
    share = interval_text(each.false_positive_share)
    volume = each.false_positive_ml
    return share if isnan(volume.mean) else f"{share}; {_ml_text(volume, _decimals(volume.mean))} mL"
