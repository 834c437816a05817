"""The report's sections on models against one another: how sure, in what order, and no worse than a margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isinf, isnan

from nnunet_missingmod.errors import counted
from nnunet_missingmod.evaluation.aggregation import CaseValues, Column
from nnunet_missingmod.evaluation.conventions import DICE
from nnunet_missingmod.evaluation.detection import Detection
from nnunet_missingmod.evaluation.intervals import SHOWN_FROM, SKEWED_FROM
from nnunet_missingmod.evaluation.model_order import Order, Rank, orders
from nnunet_missingmod.evaluation.noninferiority import NonInferiority
from nnunet_missingmod.evaluation.power import FEW_PATIENTS, POINT, Resolution
from nnunet_missingmod.evaluation.report.section import Section, SectionTable
from nnunet_missingmod.evaluation.report.text import interval_text, number_text, shown
from nnunet_missingmod.evaluation.shares import SHARES_FROM

# Below this, the probability of the other order is shown as such.
_LEAST_CHANCE = 0.001
# With fewer cases of a missed region, the mean is decided by whether there is one more.
_ENOUGH_MISSED = 5


def few_patients_warning(patients: int, cases: int) -> str:
    """Return the warning that there are few patients, or nothing where there are enough."""
    if patients >= FEW_PATIENTS:
        return ""
    return (
        f"Warning: {counted(cases, 'case')} of {counted(patients, 'patient')} are fewer than {FEW_PATIENTS} patients: "
        "differences of a point or two of Dice are mostly not resolved."
    )


def chance_text(chance: float) -> str:
    """Return a probability as text, ``"0.031"``, ``"< 0.001"``; NaN as ``"n/a"``."""
    return f"< {_LEAST_CHANCE}" if chance < _LEAST_CHANCE else number_text(chance, decimals=3)


def needed_text(needed: float) -> str:
    """Return a number of patients as text; NaN as ``"n/a"``."""
    return "n/a" if isnan(needed) else f"{needed:.0f}"


def in_short(values: CaseValues, column: Column, *, patients: Mapping[str, str] | None = None) -> list[str]:
    """Return lines for the terminal: a warning if there are few patients, and whether the order of models is chance.

    Args:
        values: Dice.
        column: over whose subsets, and over all regions, models are compared.
        patients: the patient of a case where that is not the case itself.
    """
    warning = few_patients_warning(len(set(values.owners(patients))), len(values.cases))
    every = {"all regions": values.regions}
    lines = [warning] if warning else []
    for each in orders(values, columns=[column], regions=every, patients=patients):
        if isnan(each.chance):
            continue
        over = f"({column.heading}, all regions, {counted(each.patients, 'patient')})"
        if each.difference == 0:
            lines.append(f"{each.better} and {each.other} have the same mean Dice {over}.")
            continue
        lines.append(
            f"{each.better} is before {each.other} by {shown(each.difference)} points of Dice {over}; probability that "
            f"this order is chance: {chance_text(each.chance)}"
        )
    return lines


def power_section(found: Sequence[Resolution], detected: Sequence[Detection], *, patients: int, cases: int) -> Section:
    """Return how many patients there are, what they can resolve, and where intervals are not to be trusted.

    Args:
        found: what comparisons can resolve.
        detected: the detection of every region and subset.
        patients, cases: their numbers.
    """
    warning = few_patients_warning(patients, cases)
    text = (
        f"{warning or f'{cases} cases of {patients} patients.'} Intervals are shown from the number of patients on "
        "with which they held in simulations (docs/metrics.md): those of Dice, NSD, limits of agreement and ranks from "
        f"{SHOWN_FROM} patients on, those of HD95 and of mean volumes from {SKEWED_FROM} on, those of shares and F1 "
        f"from {SHARES_FROM} on. Where a region is missed or made up in one to four cases, these few decide the mean, "
        "and its interval is too short: that of Dice with up to 20 patients, those of HD95 and of volumes that are "
        "made up with any number."
    )
    body = tuple(
        (
            f"{each.model} − {each.baseline}",
            each.region,
            each.subset,
            str(each.patients),
            shown(each.sd),
            needed_text(each.needed),
            "none" if isinf(each.resolved) else shown(each.resolved),
        )
        for each in found
    )
    head = (
        "models",
        "region",
        "subset",
        "patients",
        "SD of differences",
        "needed for 1 point",
        "resolved (points)",
    )
    caption = (
        f"Patients that a paired t test needs to find {DICE.factor * POINT:g} point of Dice (two-sided 5 %, power "
        "80 %), and the smallest difference that the present ones resolve"
    )
    tables = [SectionTable(caption, head, body)] if body else []
    doubtful: dict[tuple[str, str], list[bool]] = {}
    for of_subset in detected:
        wrong = of_subset.false_negatives + of_subset.false_positives
        doubtful.setdefault((of_subset.region, of_subset.model), []).append(0 < wrong < _ENOUGH_MISSED)
    lines = tuple((*row, f"{sum(few)} of {len(few)}") for row, few in doubtful.items() if any(few))
    if lines:
        tables.append(
            SectionTable(
                "Subsets in which one to four cases are missed or made up", ("region", "model", "subsets"), lines
            )
        )
    return Section("power", "How many cases, and what can they tell?", text, tuple(tables))


def order_section(ranks: Sequence[Rank], orders: Sequence[Order], *, shown_subsets: Sequence[str]) -> Section | None:
    """Return the ranks of models with their intervals, and whether the order of neighbours is chance.

    Args:
        ranks: of Dice, in the columns to show.
        orders: of every two models.
        shown_subsets: the headings of the columns for which orders of neighbours are shown.
    """
    models = list(dict.fromkeys(each.model for each in ranks))
    if len(models) < 2:
        return None
    by_cell: dict[tuple[str, str], dict[str, Rank]] = {}
    for each in ranks:
        by_cell.setdefault((each.region, each.subset), {})[each.model] = each
    body = tuple((*cell, *(_rank_text(of_model[model]) for model in models)) for cell, of_model in by_cell.items())
    of_pair = {(frozenset((each.better, each.other)), each.region, each.subset): each for each in orders}
    lines = []
    for (region, subset), of_model in by_cell.items():
        if subset not in shown_subsets:
            continue
        ranked = sorted(
            (model for model in models if not isnan(of_model[model].rank.mean)),
            key=lambda model: (of_model[model].rank.mean, models.index(model)),
        )
        for first, second in pairwise(ranked):
            pair = of_pair[frozenset((first, second)), region, subset]
            lines.append(
                (
                    f"{pair.better} before {pair.other}",
                    region,
                    subset,
                    shown(pair.difference, signed=True),
                    number_text(pair.correlation),
                    str(pair.patients),
                    chance_text(pair.chance),
                )
            )
    left_out = sum(next(iter(of_model.values())).left_out for of_model in by_cell.values())
    text = (
        "Rank 1 has the highest mean Dice; in brackets the ranks that a model has in 95 % of resamples of the "
        f"patients, shown from {SHOWN_FROM} patients on. Models whose ranks overlap are not told apart by these cases. "
        "The probability of chance is that the true difference has the other sign, given these patients (Christodoulou "
        "et al. 2025); 0.5 means that nothing speaks for the order. Both are about further patients, not about another "
        "training of the models."
        + (f" {left_out} scores that some models lack are left out of the ranks." if left_out else "")
    )
    head = ("order", "region", "subset", "difference (points)", "correlation", "patients", "probability of chance")
    return Section(
        "order",
        "In which order do the models stand, and is it chance?",
        text,
        (
            SectionTable("Rank in Dice, with its interval", ("region", "subset", *models), body),
            *([SectionTable("Neighbours in rank", head, tuple(lines))] if lines else []),
        ),
    )


def _rank_text(each: Rank) -> str:
    if isnan(each.rank.mean):
        return "n/a"
    rank = f"{each.rank.mean:g}"
    return rank if isnan(each.rank.low) else f"{rank} ({each.rank.low:g} to {each.rank.high:g})"


def noninferiority_section(
    found: Sequence[NonInferiority], *, margin: float | None, is_late: bool = False
) -> Section | None:
    """Return whether models are no worse than the baseline on complete cases, or None without a margin.

    Args:
        found: the verdicts.
        margin: in points of Dice.
        is_late: whether there were scores before the margin was given.
    """
    if margin is None:
        return None
    title = "Are complete cases segmented no worse than by the baseline?"
    if not found:
        why = "No answer: it needs the scores of the baseline and of another model with all modalities."
        return Section("non-inferiority", title, why)
    left_out = sum(each.left_out for each in found)
    when = (
        "which was given after there were scores and may have been chosen by them, so that the verdicts are no proof"
        if is_late
        else "given before there were scores as far as is known"
    )
    text = (
        f"On cases with all modalities, with a margin of {margin:g} points of Dice (--margin), {when}. A model is "
        "non-inferior if the lower limit of the interval of its paired difference is above minus the margin, inferior "
        f"if the upper limit is below it; else neither is shown, as with fewer than {SHOWN_FROM} patients, who have no "
        "interval." + (f" {left_out} scores without a partner are left out." if left_out else "")
    )
    body = tuple(
        (
            f"{each.model} − {each.baseline}",
            each.region,
            str(each.difference.count),
            interval_text(each.difference, signed=True, decimals=2),
            shown(each.difference.low, signed=True),
            shown(-each.margin),
            each.verdict,
        )
        for each in found
    )
    head = ("models", "region", "cases", "difference (points)", "lower limit", "minus the margin", "verdict")
    table = SectionTable("Paired difference in Dice with all modalities", head, body)
    return Section("non-inferiority", title, text, (table,))
