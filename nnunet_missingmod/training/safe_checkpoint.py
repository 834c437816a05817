"""A checkpoint without pickle: the weights as safetensors, and beside them, as JSON, what else prediction needs.

``checkpoint_final.safetensors`` and ``checkpoint_final.json`` stand for ``checkpoint_final.pth`` of a shared model.
`checkpoints.read_checkpoint` reads both kinds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from nnunet_missingmod.storage import file_fingerprint, read_json_object

FORMAT = "nnunet_missingmod checkpoint"
VERSION = 1
# Names of training cases, the device and the rest of a training stay at home.
_INIT_ARGS = ("configuration", "fold", "plans", "dataset_json")


def without_training(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what prediction needs of a checkpoint, under the names that nnU-Net gives it."""
    init_args = {key: checkpoint["init_args"][key] for key in _INIT_ARGS if key in checkpoint["init_args"]}
    if isinstance(init_args.get("dataset_json"), Mapping):  # a list of cases there may name patients
        init_args["dataset_json"] = {key: value for key, value in init_args["dataset_json"].items() if key != "dataset"}
    return {
        "network_weights": checkpoint["network_weights"],
        "trainer_name": checkpoint["trainer_name"],
        "init_args": init_args,
        "inference_allowed_mirroring_axes": checkpoint.get("inference_allowed_mirroring_axes"),
    }


def safe_contents(checkpoint: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return the contents of the two files: the weights and the JSON.

    Raises:
        ValueError: something is no tensor, or no JSON.
    """
    content = without_training(checkpoint)
    weights = content.pop("network_weights")
    strange = [name for name, value in weights.items() if not torch.is_tensor(value)]
    if strange:
        raise ValueError(f"the weights {', '.join(strange[:3])} are no tensors, and cannot be shared.")
    # Each in memory of its own: safetensors refuses tensors that share it.
    as_bytes = save({name: value.detach().cpu().clone().contiguous() for name, value in weights.items()})
    described = {
        "format": FORMAT,
        "version": VERSION,
        **content,
        # safetensors sorts them, and fingerprints go by the order of the network.
        "weights": {"sha256": hashlib.sha256(as_bytes).hexdigest(), "names": list(weights)},
    }
    try:
        return as_bytes, (json.dumps(described) + "\n").encode()
    except TypeError as error:
        raise ValueError(f"what the checkpoint holds beside the weights is no JSON: {error}.") from error


def read_safe_checkpoint(file: Path) -> dict[str, Any]:
    """Return a checkpoint as nnU-Net would have saved it for prediction, its tensors on the CPU.

    Args:
        file: the weights; the JSON is beside it.

    Raises:
        ValueError: a file is missing, torn or changed, or both do not belong together; the message names them.
    """
    beside = file.with_suffix(".json")
    try:
        content = read_json_object(beside)
        sha256 = file_fingerprint(file)
    except (ValueError, OSError) as error:
        raise ValueError(f"{file} and {beside.name} beside it cannot be read: {error}.") from error
    described = content.get("weights")
    if content.get("format") != FORMAT or content.get("version") != VERSION or not isinstance(described, dict):
        raise ValueError(f"{beside} is not of a checkpoint of this package, or of a later version.")
    if described.get("sha256") != sha256:
        raise ValueError(f"{file} is torn or was changed: its SHA-256 is not that in {beside.name}.")
    try:
        weights = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{file} is no file of weights: {error}.") from error
    names = described.get("names")
    if not isinstance(names, list) or len(names) != len(weights) or set(names) != set(weights):
        raise ValueError(f"{beside} does not name the weights of {file.name}.")
    described = {key: value for key, value in content.items() if key not in ("format", "version", "weights")}
    return {"network_weights": {name: weights[name] for name in names}, **described}
