"""Which number a measurement becomes: the metrics, and the conventions on what an empty mask scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan
from types import MappingProxyType
from typing import Literal

from nnunet_missingmod.evaluation.scores import ScoreRow

MetricName = Literal["dice", "hd95_mm", "nsd"]


@dataclass(frozen=True)
class Metric:
    """A column of the scores: what it is called, in which unit it is shown, and which way is better."""

    name: MetricName
    label: str
    unit: str
    higher_is_better: bool
    factor: float
    """What a value is multiplied by to be shown in its unit."""

    @property
    def heading(self) -> str:
        """Return label and unit as an axis or a caption shows them, ``"Dice (%)"``."""
        return f"{self.label} ({self.unit})"


DICE = Metric("dice", "Dice", "%", higher_is_better=True, factor=100.0)
HD95 = Metric("hd95_mm", "HD95", "mm", higher_is_better=False, factor=1.0)
NSD = Metric("nsd", "NSD", "%", higher_is_better=True, factor=100.0)
METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in (DICE, HD95, NSD)})

Empty = Literal["diagonal"]


@dataclass(frozen=True)
class Convention:
    """What a metric is where a mask is empty; NaN leaves the case out of means, ``"diagonal"`` is the image's in mm."""

    name: str
    both_empty: Mapping[MetricName, float]
    one_empty: Mapping[MetricName, float | Empty]

    def text(self, metric: Metric) -> str:
        """Say what the metric is where masks are empty, as a clause."""
        both, one = self.both_empty[metric.name], self.one_empty[metric.name]
        first = "undefined and left out" if isnan(both) else f"{metric.factor * both:g} {metric.unit}"
        second = "the image's diagonal" if one == "diagonal" else f"{metric.factor * one:g} {metric.unit}"
        return f"{first} where prediction and reference are empty, {second} where one of them is"

    def value(self, row: ScoreRow, metric: Metric) -> float:
        """Return the metric of a row, in 0..1 or in mm, or NaN where the convention gives none."""
        empty = (row.reference_voxels == 0) + (row.predicted_voxels == 0)
        if empty == 0:
            return float(getattr(row, metric.name))
        if empty == 2:
            return self.both_empty[metric.name]
        given = self.one_empty[metric.name]
        return row.diagonal_mm if given == "diagonal" else float(given)


BRATS = Convention(
    name="brats",
    both_empty=MappingProxyType({"dice": 1.0, "hd95_mm": 0.0, "nsd": 1.0}),
    # The diagonal of BraTS's 240 x 240 x 155 mm.
    one_empty=MappingProxyType({"dice": 0.0, "hd95_mm": 373.13, "nsd": 0.0}),
)
NNUNET = Convention(
    name="nnunet",
    both_empty=MappingProxyType({"dice": nan, "hd95_mm": nan, "nsd": nan}),
    one_empty=MappingProxyType({"dice": 0.0, "hd95_mm": "diagonal", "nsd": 0.0}),
)
CONVENTIONS: Mapping[str, Convention] = MappingProxyType({each.name: each for each in (BRATS, NNUNET)})
