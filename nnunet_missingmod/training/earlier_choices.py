"""The choices that a training of an earlier version began with, as they are written now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_missingmod import plans_block
from nnunet_missingmod.keys import OFF
from nnunet_missingmod.modalities import subset_name

# RFNet's first fifteenth, which ended an epoch late: {key: {a value that was written: what stands for it now}}.
_VALUES = {"segmentation_from": {0.0667: 0.0666}}


def as_written_now(then: Mapping[str, Any], now: Mapping[str, Any], modality_names: Sequence[str]) -> dict[str, Any]:
    """Return the choices of a checkpoint, of which earlier versions wrote some otherwise.

    They had no ``modality_subsets``, left the channels of ``modality_subset`` in any order, and had other defaults.

    Args:
        then: the checkpoint's choices.
        now: those of the training that goes on.
        modality_names: in channel order.
    """
    found = {"modality_subsets": OFF, **then}
    for key, values in _VALUES.items():
        if key in found and values.get(found[key]) == now.get(key):
            found[key] = now[key]
    if "modality_subset" in found:
        found["modality_subset"] = plans_block.subset_channels(found, modality_names)
    return found


def check_saw_all(choices: Mapping[str, Any], modality_names: Sequence[str], file: Path) -> None:
    """Check that a teacher's training saw all modalities, whatever subset the plans have for its students.

    Raises:
        ValueError: an earlier version let it see some alone.
    """
    subset = choices.get("modality_subset", "all")
    if subset != "all":
        raise ValueError(
            f"{file} was trained on {subset_name(subset, modality_names)} alone, as an earlier version let the plans' "
            "modality_subset have it, and a teacher sees all modalities. Train it anew, without --c."
        )
