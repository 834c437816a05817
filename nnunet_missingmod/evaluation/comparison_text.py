"""Comparisons of two models as lines of text: a tidy CSV, and cells for a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from math import isnan

from nnunet_missingmod.evaluation.comparison import Comparison
from nnunet_missingmod.evaluation.conventions import Metric
from nnunet_missingmod.evaluation.table_text import interval_text

_COLUMNS = (
    "metric",
    "model",
    "baseline",
    "region",
    "subset",
    "difference",
    "low",
    "high",
    "cases",
    "wins",
    "ties",
    "losses",
    "p",
    "p_holm",
)


def comparisons_to_csv(comparisons: Iterable[tuple[Metric, Comparison]]) -> str:
    """Return a line per metric, pair of models, region and column, in full precision, as fractions or mm."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for metric, each in comparisons:
        interval = each.difference
        writer.writerow(
            [
                *(metric.name, each.model, each.baseline, each.region, each.heading),
                *(interval.mean, interval.low, interval.high, interval.count),
                *(each.wins, each.ties, each.losses, each.p, each.p_holm),
            ]
        )
    return text.getvalue()


def comparison_cells(each: Comparison, metric: Metric) -> list[str]:
    """Return difference with interval, wins / ties / losses, p and corrected p as a reader wants them."""
    return [
        interval_text(each.difference, metric, signed=True, decimals=2),
        f"{each.wins} / {each.ties} / {each.losses}",
        p_text(each.p),
        p_text(each.p_holm),
    ]


def p_text(p: float) -> str:
    """Return a p value as text, ``"0.031"``, ``"< 0.001"``; NaN as ``"n/a"``."""
    if isnan(p):
        return "n/a"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
