"""A report's section on the uncertainty of single cases: expected against true Dice, and the coverage measured."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, isnan
from pathlib import Path

from matplotlib.figure import Figure

from nnunet_missingmod.evaluation.agreement import FOLDS, SUBSETS
from nnunet_missingmod.evaluation.conformal import CONFIDENCES, HeldOut, held_out, least_patients
from nnunet_missingmod.evaluation.report.figures import (
    INK,
    PALE,
    add_legend,
    line_colour,
    panels,
    save_png,
    shortened,
)
from nnunet_missingmod.evaluation.report.section import Section, SectionTable

Measured = Mapping[tuple[int, str], HeldOut]
"""What was measured for each number of modalities and region."""

_WORDS = {
    FOLDS: "agreement of the folds",
    SUBSETS: "agreement with the predictions from one modality less",
}
_PANELS_PER_ROW = 5
_PANEL = (2.9, 2.9)
_LEGEND = 0.3
_HEAD = (
    "region",
    "modalities present",
    "patients",
    "predictions",
    "interval",
    "coverage",
    "mean width",
    "without agreement",
)


def reliability_plot(measured: Measured, path: Path) -> None:
    """Draw the true Dice of each prediction against the one expected of it, in percent; a panel per region.

    Expected of a case is what was learnt from the patients of the other parts, see `held_out`. Colours are numbers of
    modalities present; on the diagonal the two are equal.

    Raises:
        ValueError: nothing was expected of any prediction.
    """
    drawn = {key: each for key, each in measured.items() if not all(map(isnan, each.dice))}
    if not drawn:
        raise ValueError("There is no prediction whose Dice was expected.")
    regions = list(dict.fromkeys(region for _, region in drawn))
    numbers = sorted({number for number, _ in drawn})
    width = _PANEL[0] * min(len(regions), _PANELS_PER_ROW)
    height = _PANEL[1] * ceil(len(regions) / _PANELS_PER_ROW) + _LEGEND
    figure = Figure(figsize=(width, height), layout="constrained")
    for axes, region in zip(panels(figure, len(regions), _PANELS_PER_ROW), regions, strict=True):
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8)
        for index, number in enumerate(numbers):
            if (number, region) in drawn:
                each = drawn[number, region]
                axes.scatter(100 * each.dice, 100 * each.seen.dice, s=6, alpha=0.6, color=line_colour(index), lw=0)
        axes.set_title(shortened(region, 24), fontsize=10, color=INK, weight="bold")
        axes.set(xlim=(-2, 102), ylim=(-2, 102))
        axes.grid(color=PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8.5, colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("expected Dice (%)", fontsize=9, color=INK)
    figure.axes[0].set_ylabel("true Dice (%)", fontsize=9, color=INK)
    handles = [figure.axes[0].scatter([], [], s=25, color=line_colour(index)) for index in range(len(numbers))]
    add_legend(figure, handles, [f"{number} present" for number in numbers], loc="outside lower center", ncols=4)
    save_png(figure, path)


def reliability_section(models: Mapping[str, Mapping[str, Measured]], folder: Path) -> Section | None:
    """Return the section on the uncertainty of single cases, its figures drawn; None if there is nothing to show.

    Args:
        models: {model: {kind of agreement: what was measured}}.
        folder: of the page; figures go into ``figures/``.
    """
    tables, figures = [], []
    for position, (model, kinds) in enumerate(models.items()):
        for kind, measured in kinds.items():
            tables.append(
                SectionTable(
                    f"{model}, {_WORDS[kind]}",
                    _HEAD,
                    tuple(_line(number, region, each) for (number, region), each in measured.items()),
                )
            )
            if not all(isnan(dice) for each in measured.values() for dice in each.dice):
                figures.append(f"figures/reliability_{kind}_{position + 1}.png")
                reliability_plot(measured, folder / figures[-1])
    if not tables:
        return None
    return Section(
        anchor="uncertainty",
        title="How sure is a single case?",
        text="How well the predictions of one case agree tells what Dice to expect of it. Each case was predicted here "
        "from the other patients alone. Coverage is how often the interval held the true Dice, to be compared with the "
        "percentage that it promises; width is in points of Dice. Where the width without agreement, by the subset of "
        "modalities alone, is no larger, agreement tells nothing.",
        tables=tuple(tables),
        figures=tuple(figures),
    )


def _line(number: int, region: str, measured: HeldOut) -> tuple[str, ...]:
    seen = measured.seen
    if isnan(measured.confidence):
        fewest = min(CONFIDENCES)
        interval = f"none: {100 * fewest:g} % needs {least_patients(fewest)} patients"
        values = ("-", "-", "-")
    else:
        interval = f"{100 * measured.confidence:g} %"
        without = held_out(seen.without_agreement())
        values = (
            _percent(measured.coverage.share, " %"),
            _percent(measured.width),
            _percent(without.width),
        )
    return (region, str(number), str(seen.count), str(len(seen)), interval, *values)


def _percent(share: float, unit: str = "") -> str:
    return "-" if isnan(share) else f"{100 * share:.1f}{unit}"
