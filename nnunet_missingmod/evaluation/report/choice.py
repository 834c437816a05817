"""What a reader of the page can choose: a region, a metric, a subset of modalities or an average over some."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from nnunet_missingmod.evaluation.aggregation import Column
from nnunet_missingmod.evaluation.conventions import Metric

ALL = "all"
"""The value of the option that leaves nothing out."""
AVERAGES = "averages"


@dataclass(frozen=True)
class Option:
    """A value, which stands in the page's address, and the text that is shown for it."""

    value: str
    text: str


@dataclass(frozen=True)
class Choice:
    """A choice by name, what it is called to leave nothing out, and its options in groups, each with a label or none.

    The page's script knows what belongs to an option by its position among all of them, from 0.
    """

    name: str
    all: str
    groups: tuple[tuple[str, tuple[Option, ...]], ...]


def choices_of(
    regions: Sequence[str], metrics: Iterable[Metric], columns: Sequence[Column], modalities: Sequence[str]
) -> tuple[Choice, Choice, Choice]:
    """Return the choices of region, metric and column; ``columns`` are in the order of `numbered`."""
    of_regions = tuple(map(Option, each_once(regions, [ALL]), regions))
    of_metrics = tuple(Option(metric.name, metric.heading) for metric in metrics)
    labels = [_label(column, modalities) for column in columns]
    headings = [column.heading for column in columns]
    options = list(map(Option, each_once(headings, [ALL]), headings))
    groups = tuple(
        (label, tuple(option for option, other in zip(options, labels, strict=True) if other == label))
        for label in dict.fromkeys(labels)
    )
    return (
        Choice("region", "every region", (("", of_regions),)),
        Choice("metric", "every metric", (("", of_metrics),)),
        Choice("subset", "every subset", groups),
    )


def numbered(columns: Iterable[Column], modalities: Sequence[str]) -> list[Column]:
    """Return columns in the order of their options: the few that average subsets, then the subsets by their size."""

    def rank(column: Column) -> int:
        return len(column.subsets[0]) if column.is_subset_of(modalities) else 0

    return sorted(columns, key=rank)


def each_once(names: Iterable[str], taken: Collection[str] = ()) -> list[str]:
    """Return the names; one that was there before, or is ``taken``, gets a number: a, a-2, a-3."""
    found: dict[str, None] = {}
    for name in names:
        number, free = 1, name
        while free in found or free in taken:
            number += 1
            free = f"{name}-{number}"
        found[free] = None
    return list(found)


def anchors_of(names: Iterable[str]) -> list[str]:
    """Return an anchor for each name, its letters a to z and digits; like ones are numbered."""
    return each_once(re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-") or "region" for name in names)


def _label(column: Column, modalities: Sequence[str]) -> str:
    return f"{len(column.subsets[0])} present" if column.is_subset_of(modalities) else AVERAGES
