"""Whether preprocessed data of stock nnU-Net's plans serve another planner's configuration too.

Preprocessing depends on a few entries of the plans and on none of patch size, batch size and network. Where those
entries agree, configurations name the same folder, and nothing is preprocessed or stored twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunetv2.utilities.json_export import recursive_fix_for_json_export

STOCK_PLANS = "nnUNetPlans"
# They write the same bits for complete cases, and only one of them accepts others.
_EQUIVALENT_PREPROCESSORS = frozenset({"DefaultPreprocessor", "MissingModPreprocessor"})
# What every planner takes from the fingerprint alone, unless it is told a target spacing.
_PLANNED_ALIKE = ("2d", "3d_fullres")

_OF_CONFIGURATION = (
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "resampling_fn_seg",
    "resampling_fn_seg_kwargs",
)
_OF_PLANS = ("transpose_forward", "foreground_intensity_properties_per_channel")


def shared_data_identifier(
    name: str, configuration: Mapping[str, Any], plans: Mapping[str, Any], *, folder: Path, overwritten_spacing: bool
) -> str | None:
    """Return the ``data_identifier`` of the stock data that ``configuration`` can use, or None if it needs its own.

    Where stock plans are in ``folder``, they are compared; where there are none yet, those that stock nnU-Net would
    make from the same fingerprint are assumed.

    Args:
        name: of the configuration.
        configuration: its entry in the plans.
        plans: ``transpose_forward`` and ``foreground_intensity_properties_per_channel`` of the plans.
        folder: ``nnUNet_preprocessed/DATASET``.
        overwritten_spacing: whether the target spacing is the user's rather than the fingerprint's.
    """
    if configuration["preprocessor_name"] not in _EQUIVALENT_PREPROCESSORS:
        return None
    file = folder / f"{STOCK_PLANS}.json"
    if not file.is_file():
        return f"{STOCK_PLANS}_{name}" if name in _PLANNED_ALIKE and not overwritten_spacing else None
    stock = json.loads(file.read_text(encoding="utf-8"))
    of_stock = stock["configurations"].get(name, {})
    if of_stock.get("preprocessor_name") not in _EQUIVALENT_PREPROCESSORS:
        return None
    same = all(_written(configuration[key]) == of_stock.get(key) for key in _OF_CONFIGURATION) and all(
        _written(plans[key]) == stock.get(key) for key in _OF_PLANS
    )
    identifier: str | None = of_stock["data_identifier"] if same else None
    return identifier


def _written(value: Any) -> Any:
    """Return a value as it comes back from nnU-Net's plans file: arrays as lists, keys as strings."""
    copied = {"value": value}
    recursive_fix_for_json_export(copied)
    return json.loads(json.dumps(copied))["value"]
