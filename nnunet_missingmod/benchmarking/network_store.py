"""What was measured on the networks of an evaluation, their costs and latents, in files.

``costs`` and ``latents`` measure it; a report is made from the files, without a network, and so without torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from nnunet_missingmod.evaluation.costs import Cost
from nnunet_missingmod.evaluation.modality_gap import Latents
from nnunet_missingmod.storage import replaced_when_complete, write_text

logger = logging.getLogger(__name__)

COSTS = "costs.json"
LATENTS = "latents"


def save_costs(records: Mapping[str, Any], folder: Path) -> None:
    """Write what ``find_costs`` returned."""
    write_text(folder / COSTS, json.dumps(records, indent=1))


def saved_records(folder: Path) -> dict[str, Any]:
    """Return what `save_costs` wrote; nothing if there is no such file, or it is damaged."""
    try:
        content = json.loads((folder / COSTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def saved_costs(folder: Path, models: Sequence[str]) -> dict[str, Cost]:
    """Return the costs of those models that have one, in their order."""
    records = saved_records(folder)
    found = {}
    for model in models:
        try:
            fields = records[model]["cost"]
            found[model] = Cost(**{**fields, "voxels": tuple(fields["voxels"])})
        except (KeyError, TypeError):
            continue
    return found


def save_latents(found: Mapping[str, Latents], output: Path, models: Sequence[str]) -> None:
    """Write the latents of each model that has some, and remove earlier ones of the others."""
    for model in models:
        path = output / LATENTS / f"{model}.npz"
        if model not in found:
            path.unlink(missing_ok=True)
            continue
        latents = found[model]
        with replaced_when_complete(path) as temporary:
            np.savez(temporary, values=latents.values, cases=latents.cases, modalities=np.array(latents.modalities))


def saved_latents(output: Path, models: Sequence[str]) -> dict[str, Latents]:
    """Return the latents that `save_latents` wrote, of each model that has some."""
    found = {}
    for model in models:
        path = output / LATENTS / f"{model}.npz"
        if not path.is_file():
            continue
        try:
            with np.load(path, allow_pickle=False) as file:
                found[model] = Latents(file["values"], tuple(map(str, file["modalities"])), file["cases"])
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            logger.warning("No latents of %s: %s cannot be read: %s", model, path, error)
    return found
