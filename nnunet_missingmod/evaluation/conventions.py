"""What is scored: the metrics, the conventions for empty masks by name, and the regions of a dataset.

Scoring takes the regions from here; aggregation takes each row's value by a convention.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, isnan, nan
from types import MappingProxyType
from typing import Any, Literal

from nnunet_missingmod.evaluation.scores import ScoreRow

MetricName = Literal["dice", "hd95_mm", "nsd"]
Empty = Literal["diagonal"]
Region = tuple[int, ...]

_EXAMPLE = '"labels": {"background": 0, "tumour": 1}'
# The names in BraTS 2017-2021 and 2023+ of label 1 (necrotic core), label 2 (oedema) and label 3 (enhancing tumour).
_CORE_NAMES = {"ncr", "net", "ncr/net", "netc", "necrosis", "necrotic core"}
_OEDEMA_NAMES = {"ed", "snfh", "edema", "oedema"}
_ENHANCING_NAMES = {"et", "enhancing tumor", "enhancing tumour"}
# Of the three regions, in lower case, with spaces, "tumour" spelled "tumor".
_BRATS_REGIONS = ({"wt", "whole tumor"}, {"tc", "tumor core"}, {"et", "enhancing tumor"})


@dataclass(frozen=True)
class Metric:
    """A column of the scores: its name, the unit in which it is shown, and whether higher is better."""

    name: MetricName
    label: str
    unit: str
    higher_is_better: bool
    factor: float
    """The factor by which a value is multiplied to be shown in ``unit``."""
    skewed: bool = False
    """Whether a few values are far larger than most, which decides the kind of interval: see `Bootstrap.interval`."""

    @property
    def heading(self) -> str:
        """Return label and unit for an axis or a caption, ``"Dice (%)"``."""
        return f"{self.label} ({self.unit})"


DICE = Metric("dice", "Dice", "%", higher_is_better=True, factor=100.0)
HD95 = Metric("hd95_mm", "HD95", "mm", higher_is_better=False, factor=1.0, skewed=True)
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

    def bounds(self, metric: Metric, *, diagonal_mm: float, largest: float = 0.0) -> tuple[float, float]:
        """Return the least and the largest value that a metric can have in images of at most that diagonal.

        Args:
            metric: in 0..1, or in mm.
            diagonal_mm: NaN if it is not known, as of scores from a file alone.
            largest: the largest score there is. In a file of another program it may exceed the images' diagonal.
        """
        if metric.name != HD95.name:
            return 0.0, 1.0
        given = self.one_empty[metric.name]
        if given == "diagonal":
            return 0.0, inf if isnan(diagonal_mm) else max(diagonal_mm, largest)
        return 0.0, max(float(given), largest, 0.0 if isnan(diagonal_mm) else diagonal_mm)


BRATS = Convention(
    name="brats",
    both_empty=MappingProxyType({"dice": 1.0, "hd95_mm": 0.0, "nsd": 1.0}),
    # 373.13 mm is the diagonal of a BraTS image, 240 x 240 x 155 mm.
    one_empty=MappingProxyType({"dice": 0.0, "hd95_mm": 373.13, "nsd": 0.0}),
)
DIAGONAL = Convention(
    name="diagonal",
    both_empty=BRATS.both_empty,
    one_empty=MappingProxyType({"dice": 0.0, "hd95_mm": "diagonal", "nsd": 0.0}),
)
NNUNET = Convention(
    name="nnunet",
    both_empty=MappingProxyType({"dice": nan, "hd95_mm": nan, "nsd": nan}),
    one_empty=MappingProxyType({"dice": 0.0, "hd95_mm": "diagonal", "nsd": 0.0}),
)
CONVENTIONS: Mapping[str, Convention] = MappingProxyType({each.name: each for each in (BRATS, DIAGONAL, NNUNET)})
AUTO = "auto"
"""The word for the convention that suits the regions: see `choose_convention`."""


def choose_convention(name: str, regions: Iterable[str]) -> tuple[Convention, str]:
    """Return the convention of that name, and the reason for it in words.

    ``auto`` is ``brats`` if the three regions of BraTS (WT, TC, ET, or their full names) are among ``regions``, else
    ``diagonal``: the 373.13 mm that BraTS gives to a missed region are the diagonal of its own images.

    Raises:
        ValueError: there is no convention of that name.
    """
    if name == AUTO:
        plain = {region.casefold().replace("_", " ").replace("tumour", "tumor") for region in regions}
        if all(plain & names for names in _BRATS_REGIONS):
            return BRATS, "chosen because the regions are those of BraTS"
        return DIAGONAL, "chosen because the regions are not those of BraTS (WT, TC, ET)"
    if name not in CONVENTIONS:
        raise ValueError(f"There is no convention {name!r}, only {', '.join([AUTO, *CONVENTIONS])}.")
    return CONVENTIONS[name], "as requested"


def dataset_regions(dataset_json: Mapping[str, Any]) -> dict[str, Region]:
    """Return the foreground regions of a ``dataset.json`` by name, in its order: its regions, else one per label.

    The background and the ``ignore`` label are not regions. In nnU-Net, a dataset has regions if at least one entry of
    ``labels`` lists several labels; ``regions_class_order`` must then have one label for each region. That order
    determines how nnU-Net writes a prediction as a label map, not how the label map is scored.

    Raises:
        ValueError: labels are no object of names and whole numbers, there is no foreground, or ``regions_class_order``
            is missing or of another length.
    """
    named = _named_labels(dataset_json)
    regions = {name: region for name, region in named.items() if name != "ignore" and set(region) != {0}}
    if not regions:
        raise ValueError(f"dataset.json has no foreground: add for example {_EXAMPLE}.")
    if any(len(region) > 1 for region in regions.values()):
        order = dataset_json.get("regions_class_order")
        if not isinstance(order, (list, tuple)) or len(order) != len(regions):
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

    Raises:
        ValueError: labels are no object of names and whole numbers.
    """
    named = _named_labels(dataset_json)
    plain = {region[0]: name for name, region in named.items() if _is_plain(dataset_json["labels"][name])}
    if len(plain) != len(named):
        return None
    expected = {1: _CORE_NAMES, 2: _OEDEMA_NAMES, 3: _ENHANCING_NAMES}
    if any(plain.get(label, "").casefold() not in names for label, names in expected.items()):
        return None
    others = {name: (label,) for label, name in sorted(plain.items()) if label > 3 and name != "ignore"}
    return {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,), **others}


def evaluated_regions(dataset_json: Mapping[str, Any]) -> dict[str, Region]:
    """Return the regions that are scored: WT, TC and ET where the labels are those of BraTS, else the dataset's own.

    Raises:
        ValueError: as for `dataset_regions`.
    """
    return brats_regions(dataset_json) or dataset_regions(dataset_json)


def ignore_label(dataset_json: Mapping[str, Any]) -> int | None:
    """Return the label whose voxels are not scored, or None if the dataset has none.

    Raises:
        ValueError: it is not a single label, or labels are no object of names and whole numbers.
    """
    named = _named_labels(dataset_json)
    if "ignore" not in named:
        return None
    value = dataset_json["labels"]["ignore"]
    if not _is_plain(value):
        raise ValueError(f"The ignore label in dataset.json is a single label, got {value}.")
    return named["ignore"][0]


def _is_plain(value: Any) -> bool:
    """Return whether an entry of ``labels`` is a label, and not a region of several."""
    return not isinstance(value, (list, tuple))


def _named_labels(dataset_json: Mapping[str, Any]) -> dict[str, Region]:
    """Return the entry ``labels`` of a ``dataset.json`` as {name: its labels}.

    Raises:
        ValueError: it is missing or no object, is turned round (labels as keys, as in nnU-Net v1), or gives a name
            something else than whole numbers from 0.
    """
    labels = dataset_json.get("labels")
    if not isinstance(labels, Mapping):
        raise ValueError(f'"labels" in dataset.json must be as {_EXAMPLE}, got {labels!r}.')
    if labels and all(str(name).isdecimal() and isinstance(value, str) for name, value in labels.items()):
        turned = json.dumps({value: int(name) for name, value in labels.items()}, ensure_ascii=False)
        raise ValueError(f'"labels" in dataset.json has names and numbers exchanged: write "labels": {turned}.')
    named: dict[str, Region] = {}
    for name, value in labels.items():
        given = [value] if _is_plain(value) else list(value)
        if not given or not all(_is_label(label) for label in given):
            raise ValueError(
                f'"labels" in dataset.json gives {name!r} the value {value!r}: it must be a whole number from 0, or a '
                f"list of them, as {_EXAMPLE}."
            )
        named[str(name)] = tuple(int(label) for label in given)
    return named


def _is_label(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal()
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and value == value // 1
