"""What is scored: the metrics, the conventions for empty masks by name, and the regions of a dataset.

Scoring takes the regions from here; aggregation takes each row's value by a convention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan
from types import MappingProxyType
from typing import Any, Literal

from nnunet_missingmod.evaluation.scores import ScoreRow

MetricName = Literal["dice", "hd95_mm", "nsd"]
Empty = Literal["diagonal"]
Region = tuple[int, ...]

# The names in BraTS 2017-2021 and 2023+ of label 1 (necrotic core), label 2 (oedema) and label 3 (enhancing tumour).
_CORE_NAMES = {"ncr", "net", "ncr/net", "netc", "necrosis", "necrotic core"}
_OEDEMA_NAMES = {"ed", "snfh", "edema", "oedema"}
_ENHANCING_NAMES = {"et", "enhancing tumor", "enhancing tumour"}


@dataclass(frozen=True)
class Metric:
    """A column of the scores: its name, the unit in which it is shown, and whether higher is better."""

    name: MetricName
    label: str
    unit: str
    higher_is_better: bool
    factor: float
    """The factor by which a value is multiplied to be shown in ``unit``."""

    @property
    def heading(self) -> str:
        """Return label and unit for an axis or a caption, ``"Dice (%)"``."""
        return f"{self.label} ({self.unit})"


DICE = Metric("dice", "Dice", "%", higher_is_better=True, factor=100.0)
HD95 = Metric("hd95_mm", "HD95", "mm", higher_is_better=False, factor=1.0)
NSD = Metric("nsd", "NSD", "%", higher_is_better=True, factor=100.0)
METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in (DICE, HD95, NSD)})


@dataclass(frozen=True)
class Convention:
    """The value of each metric if both masks or one mask is empty.

    NaN leaves the case out of means; ``"diagonal"`` is the diagonal of the image in mm.
    """

    name: str
    both_empty: Mapping[MetricName, float]
    one_empty: Mapping[MetricName, float | Empty]

    def text(self, metric: Metric) -> str:
        """Return the convention for a metric in words, as a clause."""
        both, one = self.both_empty[metric.name], self.one_empty[metric.name]
        first = "undefined and left out" if isnan(both) else f"{metric.factor * both:g} {metric.unit}"
        second = "the image's diagonal" if one == "diagonal" else f"{metric.factor * one:g} {metric.unit}"
        return f"{first} where prediction and reference are empty, {second} where one of them is"

    def value(self, row: ScoreRow, metric: Metric) -> float:
        """Return the metric of a row, in 0..1 or in mm, or NaN if the convention leaves it undefined."""
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
    # 373.13 mm is the diagonal of a BraTS image, 240 x 240 x 155 mm.
    one_empty=MappingProxyType({"dice": 0.0, "hd95_mm": 373.13, "nsd": 0.0}),
)
NNUNET = Convention(
    name="nnunet",
    both_empty=MappingProxyType({"dice": nan, "hd95_mm": nan, "nsd": nan}),
    one_empty=MappingProxyType({"dice": 0.0, "hd95_mm": "diagonal", "nsd": 0.0}),
)
CONVENTIONS: Mapping[str, Convention] = MappingProxyType({each.name: each for each in (BRATS, NNUNET)})


def dataset_regions(dataset_json: Mapping[str, Any]) -> dict[str, Region]:
    """Return the foreground regions of a ``dataset.json`` by name, in its order: its regions, else one per label.

    The background and the ``ignore`` label are not regions. In nnU-Net, a dataset has regions if at least one entry of
    ``labels`` lists several labels; ``regions_class_order`` must then have one label for each region. That order
    determines how nnU-Net writes a prediction as a label map, not how the label map is scored.

    Raises:
        ValueError: there is no foreground, or ``regions_class_order`` is missing or of another length.
    """
    regions: dict[str, Region] = {}
    for name, value in dataset_json.get("labels", {}).items():
        region = tuple(int(label) for label in value) if isinstance(value, (list, tuple)) else (int(value),)
        if name != "ignore" and set(region) != {0}:
            regions[str(name)] = region
    if not regions:
        raise ValueError('dataset.json has no foreground: add for example "labels": {"background": 0, "tumour": 1}.')
    if any(len(region) > 1 for region in regions.values()):
        order = dataset_json.get("regions_class_order")
        if order is None or len(order) != len(regions):
            raise ValueError(
                f"regions_class_order in dataset.json needs one label for each of {', '.join(regions)}, got {order}."
            )
    return regions


def brats_regions(dataset_json: Mapping[str, Any]) -> dict[str, Region] | None:
    """Return WT = {1, 2, 3}, TC = {1, 3}, ET = {3} if the plain labels are those of BraTS, else None.

    Labels are those of BraTS if 1, 2 and 3 have names of the necrotic core (NCR, NET, NCR/NET, NETC), of oedema (ED,
    SNFH) and of the enhancing tumour (ET), in upper or lower case. Any other foreground label, such as the resection
    cavity, is a region of its own. The result is also None if the dataset declares regions itself; then use
    `dataset_regions`.
    """
    labels = dataset_json.get("labels", {})
    plain = {int(value): str(name) for name, value in labels.items() if not isinstance(value, (list, tuple))}
    if len(plain) != len(labels):
        return None
    expected = {1: _CORE_NAMES, 2: _OEDEMA_NAMES, 3: _ENHANCING_NAMES}
    if any(plain.get(label, "").casefold() not in names for label, names in expected.items()):
        return None
    others = {name: (label,) for label, name in sorted(plain.items()) if label > 3 and name != "ignore"}
    return {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,), **others}


def ignore_label(dataset_json: Mapping[str, Any]) -> int | None:
    """Return the label whose voxels are not scored, or None if the dataset has none.

    Raises:
        ValueError: it is not a single label.
    """
    value = dataset_json.get("labels", {}).get("ignore")
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        raise ValueError(f"The ignore label in dataset.json is a single label, got {value}.")
    return int(value)
