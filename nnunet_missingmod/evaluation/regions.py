"""Which regions of a dataset are scored: read from its ``dataset.json``, or the three that BraTS reports.

A region is a set of labels; a plain label is a region of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Region = tuple[int, ...]

# The words of BraTS 2017-2021 and 2023+ for label 1 (necrotic core) and label 2 (oedema). Label 3 is ET in all of them.
_CORE_NAMES = {"ncr", "net", "ncr/net", "netc", "necrosis", "necrotic core"}
_OEDEMA_NAMES = {"ed", "snfh", "edema", "oedema"}
_ENHANCING_NAMES = {"et", "enhancing tumor", "enhancing tumour"}


def dataset_regions(dataset_json: Mapping[str, Any]) -> dict[str, Region]:
    """Return the foreground regions of a ``dataset.json`` by name, in its order: its regions, else one per label.

    The background and the ``ignore`` label are no regions. As nnU-Net has it, a dataset has regions as soon as one
    entry of ``labels`` lists several labels, and then ``regions_class_order`` has one label for each. The order decides
    how nnU-Net writes a prediction as a label map, not how the label map is scored.

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

    Labels are those of BraTS if 1, 2, 3 bear names of the necrotic core (NCR, NET, NCR/NET, NETC), of oedema (ED, SNFH)
    and of the enhancing tumour (ET), in any case of letters. Another foreground label, as the resection cavity, stays a
    region of its own. None also where the dataset declares regions itself: `dataset_regions` has those.
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
