"""The summary of a report in sentences: who leads and by how much, what the worst subset costs, the complete case.

Every number is a mean of Dice, in percent or points, with its interval; what cannot be told apart is said to be so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isclose, isnan
from typing import Any

from numpy.typing import NDArray

from nnunet_missingmod.evaluation.aggregation import CaseValues, Column
from nnunet_missingmod.evaluation.conventions import DICE
from nnunet_missingmod.evaluation.intervals import SHOWN_FROM, Bootstrap, Interval
from nnunet_missingmod.evaluation.report.leading import AHEAD, NEAR, Cell, Lead, is_behind
from nnunet_missingmod.evaluation.report.tables import SIGNIFICANT, Table
from nnunet_missingmod.evaluation.report.text import interval_text, p_text, shown
from nnunet_missingmod.modalities import Subset, subset_name

# With fewer patients, intervals of 95 % hold the true mean in 91 to 94 % of simulations (docs/metrics.md).
_FEW_PATIENTS = 12


@dataclass(frozen=True)
class Summary:
    """The group of regions that is spoken of, sentences about it, and what to keep in mind with them."""

    region: str
    sentences: tuple[str, ...]
    cautions: tuple[str, ...]


def summarise(
    values: CaseValues,
    by_subset: Table,
    leads: Mapping[Cell, Lead],
    *,
    regions: Mapping[str, Sequence[str]],
    bootstrap: Bootstrap,
    patients: Mapping[str, str] | None = None,
) -> Summary:
    """Return the summary of Dice.

    It speaks of the last group of ``regions``, which averages them, or if that has no score in the average over all
    subsets, of the first group that has. The worst subset is that with the highest cost among those that lack
    modalities; its cost is the mean of the cases' differences between all modalities (or, if these were not scored, the
    subset with the best mean) and the worst subset.

    Args:
        values: Dice of every case.
        by_subset: the table of the same values; the last column that is not weighted averages all subsets.
        leads: of the table's cells.
        regions: groups of regions, as in `table_of`.
        bootstrap: of the intervals.
        patients: the patient of a case where that is not the case itself.
    """
    overall = _overall(by_subset)
    has_score = [region for region in regions if leads[region, frozenset(overall.subsets)].models]
    *_, last = regions
    region = last if last in has_score or not has_score else has_score[0]
    owners = [(patients or {}).get(case, case) for case in values.cases]
    teller = _Teller(values, by_subset, leads, region, tuple(regions[region]), bootstrap, owners)
    sentences = teller.sentences(overall)
    if region != last:
        sentences = (f"The {last} has no score over all subsets: this is about {region}.", *sentences)
    return Summary(region, sentences, _cautions(leads[region, frozenset(overall.subsets)], by_subset, set(owners)))


def _overall(by_subset: Table) -> Column:
    """Return the column that averages all subsets, or is the only one; means that are weighted stand after it."""
    return [column for column in by_subset.columns if not column.weights][-1]


def _cautions(lead: Lead, table: Table, patients: set[str]) -> tuple[str, ...]:
    """Return what the numbers do not show: how sure they are, and that leader and subset are chosen on these cases."""
    found = []
    number = len(patients)
    if number < 2:
        found.append("With one patient there are no intervals and no tests.")
    elif number < SHOWN_FROM:
        found.append(
            f"With {number} patients there are no confidence intervals: they are shown from {SHOWN_FROM} patients on, "
            "with which they held in simulations."
        )
    else:
        confidence = f"{100 * (table.confidence or 0):g} %"
        few = ", a little too narrow with so few" if number < _FEW_PATIENTS else ""
        found.append(f"In brackets: {confidence} confidence intervals over {number} patients{few}.")
    if number >= 2:
        tests = max((gap.tests for gap in lead.gaps.values()), default=0)
        if tests and tests * 2 / 2**number >= SIGNIFICANT:
            found.append("No test of so few patients can tell two models apart.")
    chosen = ["The leading model"] if len(lead.models) > 1 else []
    chosen += ["the worst subset"] if len(_overall(table).subsets) > 1 else []
    if chosen:
        text = " and ".join(chosen)
        verb = "are" if len(chosen) > 1 else "is"
        found.append(
            f"{text[0].upper()}{text[1:]} {verb} chosen on the cases that are measured, which makes a lead or a cost "
            "look a little larger than it is."
        )
    return tuple(found)


@dataclass(frozen=True)
class _Teller:
    """Makes the sentences on one group of regions, of which ``members`` are the raw ones."""

    values: CaseValues
    table: Table
    leads: Mapping[Cell, Lead]
    region: str
    members: tuple[str, ...]
    bootstrap: Bootstrap
    owners: Sequence[str]

    def sentences(self, overall: Column) -> tuple[str, ...]:
        lead = self._lead(overall.subsets)
        if not lead.models:
            return (f"{self._where(overall)}, no model has a {self._score}.",)
        complete = tuple(range(len(self.values.modalities)))
        single = (column.subsets[0] for column in self.table.columns if len(column.subsets) == 1 and not column.weights)
        subsets = list(dict.fromkeys(single))  # an average over one subset is that subset
        told = [self._leading(overall.subsets, self._where(overall))]
        if subsets == [complete]:
            return (*told, f"Nothing is absent from {subset_name(complete, self.values.modalities)}.")
        if len(subsets) == 1:
            return (*told, "No other subset was scored, so that the cost of absent modalities is not known.")
        told.append(self._cost(lead.models[0], subsets, complete))
        if complete not in subsets:
            told.append(f"The case with {self._all} was not scored.")
        elif len(self.values.models) > 1:
            told.append(self._leading((complete,), f"With {self._all}", also=lead.models[0]))
        else:
            told.append(self._gain(lead.models[0], overall.subsets, complete))
        return tuple(told)

    def _leading(self, subsets: Sequence[Subset], where: str, *, also: str = "") -> str:
        """Say who leads in a column and by how much; also how far behind another model is."""
        lead = self._lead(subsets)
        if not lead.models:
            return f"{where}, no model has a {self._score}."
        first, *others = lead.models
        score = self._interval(first, subsets)
        unscored = [model for model in self.values.models if model not in lead.models]
        ending = f" {_listed(unscored)} {'have' if len(unscored) > 1 else 'has'} none." if unscored else ""
        if not others:
            return f"{where}, {first} has a {self._score} of {interval_text(score)}.{ending}"
        start = f"{where}, {first} has the highest {self._score}: {interval_text(score)}"
        ahead = [model for model in others[1:] if lead.mark(model) == AHEAD and model != also]
        named = [others[0], *([also] if also in others[1:] else []), *ahead]
        near = [model for model in others if lead.mark(model) == NEAR]
        text = "; ".join((start, *(self._behind(lead, model) for model in named))) + "."
        further = [model for model in near if model not in named]
        if further:
            too = " either" if set(near) - set(further) else ""
            text += f" {_listed(further)} cannot be told from it{too}."
        return text + ending

    def _behind(self, lead: Lead, model: str) -> str:
        gap = lead.gaps[model]
        name = f"{model}, the next best," if model == lead.models[1] else model
        if model in lead.equal:
            return f"{name} has the same mean"
        if isnan(gap.difference.mean):
            return f"{name} has no case in common with it"
        if gap.difference.mean < 0:
            return f"{name} is {_points(_negative(gap.difference))} ahead of it on the cases that both have"
        text = f"{name} is {_points(gap.difference)} behind"
        if is_behind(gap, DICE):
            return text
        leaves_out_zero = gap.difference.low > 0
        why = f" (p after correction: {p_text(gap.p_holm)})" if leaves_out_zero else ""
        return f"{text} and cannot be told from it{why}"

    def _cost(self, model: str, subsets: Sequence[Subset], complete: Subset) -> str:
        """Say which subset costs a model most, and how much it is below its complete or best case."""
        if complete in subsets and not isnan(self._interval(model, (complete,)).mean):
            best, base = complete, f"with {self._all}"
        else:
            means = {subset: self._interval(model, (subset,)).mean for subset in subsets}
            best = max(means, key=lambda subset: -inf if isnan(means[subset]) else means[subset])
            base = f"with {subset_name(best, self.values.modalities)}, its best"
        costs = {subset: self._less((model, (best,)), (model, (subset,))) for subset in subsets if subset != best}
        known = {subset: cost for subset, cost in costs.items() if not isnan(cost.mean)}
        if not known:
            return f"No case of {model} was scored both {base} and with another subset."
        worst = max(known, key=lambda subset: known[subset].mean)
        cost, name = known[worst], subset_name(worst, self.values.modalities)
        own, of_base = (self._interval(model, (subset,)) for subset in (worst, best))
        on_both = _on_both(cost, of_base.mean - own.mean)
        if cost.mean <= 0:
            least = "" if on_both else f": the lowest {self._score} is that of {name}"
            return f"No subset of {model} is worse than {base}{on_both}{least}."
        return (
            f"The worst subset of {model} is {name}: {interval_text(own)}, {_points(cost)} less than {base}, "
            f"{interval_text(of_base)}{on_both}{_doubt(cost)}."
        )

    def _gain(self, model: str, subsets: Sequence[Subset], complete: Subset) -> str:
        """Say how much the complete case is above the average over all subsets."""
        score, average = self._interval(model, (complete,)), self._interval(model, subsets)
        gain = self._less((model, (complete,) * len(subsets)), (model, subsets))
        if isnan(gain.mean):
            return f"With {self._all} it reaches {interval_text(score)}."
        word, size = ("more", gain) if gain.mean >= 0 else ("less", _negative(gain))
        return (
            f"With {self._all} it reaches {interval_text(score)}, {_points(size)} {word} than the average over "
            f"{self._number(subsets)}{_on_both(gain, score.mean - average.mean)}{_doubt(gain)}."
        )

    def _less(self, one: tuple[str, Sequence[Subset]], other: tuple[str, Sequence[Subset]]) -> Interval:
        """Return the mean of the cases' differences between a model's scores with some subsets and with others."""
        return self.bootstrap.interval(self._of(*one) - self._of(*other), self.owners)

    @property
    def _score(self) -> str:
        return f"Dice of {self.region}" if self.members == (self.region,) else f"mean Dice of {_listed(self.members)}"

    @property
    def _all(self) -> str:
        count = len(self.values.modalities)
        return f"all {count} modalities" if count > 1 else "the only modality"

    def _where(self, column: Column) -> str:
        if len(column.subsets) == 1:
            return f"With {subset_name(column.subsets[0], self.values.modalities)}"
        return f"Over {self._number(column.subsets)}"

    def _number(self, subsets: Sequence[Subset]) -> str:
        is_all = len(subsets) == 2 ** len(self.values.modalities) - 1
        return f"all {len(subsets)} subsets" if is_all else f"the {len(subsets)} scored subsets"

    def _lead(self, subsets: Sequence[Subset]) -> Lead:
        return self.leads[self.region, frozenset(subsets)]

    def _of(self, model: str, subsets: Sequence[Subset]) -> NDArray[Any]:
        return self.values.of(model, self.members, subsets)

    def _interval(self, model: str, subsets: Sequence[Subset]) -> Interval:
        return self.bootstrap.interval(self._of(model, subsets), self.owners)


def _points(interval: Interval) -> str:
    """Return a difference of Dice in percentage points, with its interval: ``"1.4 points (0.6 to 2.1)"``."""
    mean, low, high = (shown(value, DICE, decimals=1) for value in (interval.mean, interval.low, interval.high))
    text = f"{mean} point{'' if mean == '1.0' else 's'}"
    return text if isnan(interval.low) else f"{text} ({low} to {high})"


def _negative(interval: Interval) -> Interval:
    """Return the interval of the difference taken the other way."""
    return Interval(-interval.mean, -interval.high, -interval.low, interval.count)


def _on_both(difference: Interval, of_means: float) -> str:
    """Return what to add to a paired difference that is not that of the means beside it, which have other cases."""
    return "" if isclose(difference.mean, of_means, abs_tol=1e-9) else ", on the cases that have both"


def _doubt(interval: Interval) -> str:
    """Return what to add if the interval does not leave out 0."""
    return ", an interval that includes 0" if interval.low <= 0 <= interval.high else ""


def _listed(names: Sequence[str]) -> str:
    """Return names as a list in words, ``"WT, TC and ET"``."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
