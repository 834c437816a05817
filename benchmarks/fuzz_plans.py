"""Ways to change a model folder's plans.json, each with what must come of it, from the documentation alone."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fuzz_truth import ACCEPT, EITHER, REFUSE
from tiny_model import CONFIGURATION

BLOCK = "missingmod"

# As plans/README.md says it, written down by hand: key: (values allowed, values refused).
_COUNT = ([1, 2, 1000], [0, -1, 1.5, "1", True, [1], None, math.nan])
_RATE = ([1e-9, 0.01, 5], [0, -0.1, "0.1", True, math.nan, math.inf, None])
_WEIGHT = ([0, 0.125, 3], [-0.1, "1", False, math.nan, math.inf, {}])
_SHARE = ([0, 0.33, 1], [-0.1, 1.1, "0.3", True, math.nan])
_BELOW_ONE = ([0, 0.5, 0.99], [1, 1.5, -0.1, "0.5", True, math.nan])
_FLAG = ([True, False], [0, 1, "true", None, []])
# None stands for nnU-Net's own value where there is one.
_HOST_COUNT = (_COUNT[0], [value for value in _COUNT[1] if value is not None])
_HOST_RATE = (_RATE[0], [value for value in _RATE[1] if value is not None])


def _word(*allowed: str) -> tuple[list[Any], list[Any]]:
    return list(allowed), ["", allowed[0].upper(), f"{allowed[0]} ", "nonsense", 0, True, [allowed[0]], {}]


DOCUMENTED: dict[str, tuple[list[Any], list[Any]]] = {
    "num_epochs": _HOST_COUNT,
    "num_iterations_per_epoch": _HOST_COUNT,
    "num_val_iterations_per_epoch": _HOST_COUNT,
    "save_every": _HOST_COUNT,
    "initial_lr": _HOST_RATE,
    "momentum": _BELOW_ONE,
    "weight_decay": _WEIGHT,
    "oversample_foreground_percent": _SHARE,
    "modality_dropout": _word("none", "uniform", "uniform_count", "bernoulli"),
    "modality_dropout_probability": _BELOW_ONE,
    "modality_dropout_seed": ([0, 7, 2**40], [-1, 1.5, "0", True, None]),
    "validation_subsets": _word("full", "cycle"),
    "blank_is_absent": _FLAG,
    "nonfinite": _word("refuse", "zero"),
    "geometry_tolerance_voxels": _WEIGHT,
    "network": _word("early", "parallel", "stock"),
    "channel_encoder": _word("none", "separate", "shared"),
    "channel_encoder_width": _COUNT,
    "absent_fill": _word("zero", "learned"),
    "presence_conditioning": _FLAG,
    "fused_at": _word("logits", "features"),
    "feature_fusion": _word("mean", "attention"),
    "subset_objective": _word("sample", "enumerate"),
    "alignment_anchor": _word("none", "modality", "mixture", "normal"),
    "alignment_weight": _WEIGHT,
    "mixture_learning_rate_factor": _WEIGHT,
    "divergence": _word("none", "holder_pseudo", "holder_proper", "kullback_leibler", "jensen_shannon"),
    "divergence_target": _word("teacher", "label"),
    "divergence_weight": _WEIGHT,
    "divergence_alpha": ([1.1, 2, 0.5], [1, 0, -2, "2", True, math.nan, None]),
    "divergence_gamma": _RATE,
    "divergence_temperature": _RATE,
    "mutual_information": _word("none", "teacher", "self"),
    "mutual_information_weight": _WEIGHT,
    "mutual_information_level_weights": (["depth", [0, 1, 2]], ["shallow", 3, [-1, 2], ["a"], [], {}]),
    "initial_weights": _word("random", "teacher"),
    "distillation_warmup_epochs": ([0, 5], [-1, 0.5, "1", True, None]),
}


@dataclass
class PlansTruth:
    """A changed plans.json: what was done, what must come of it, which words a refusal must hold one of."""

    text: str
    what: str
    must: str
    names: list[str]
    block: dict[str, Any] = field(default_factory=dict)


def spoil_plans(clean: str, rng: np.random.Generator) -> PlansTruth:
    """Return the plans with one change."""
    plans = json.loads(clean)
    configuration = plans["configurations"][CONFIGURATION]
    kind = rng.random()
    if kind < 0.45:
        key, value, must = _documented(rng)
        configuration[BLOCK][key] = value
        return _changed(plans, f"{key} = {value!r}", must, [key], {key: value} if must == ACCEPT else {})
    if kind < 0.6:
        key = list(DOCUMENTED)[int(rng.integers(0, len(DOCUMENTED)))]
        place = int(rng.integers(0, len(key)))
        misspelt = [key[:place] + key[place + 1 :], key[:place] + "x" + key[place:], key.upper(), f" {key}", ""]
        wrong = misspelt[int(rng.integers(0, len(misspelt)))]
        configuration[BLOCK][wrong] = 1
        return _changed(plans, f"unknown key {wrong!r}", REFUSE, [repr(wrong)])
    if kind < 0.7:
        block = [[], ["nonfinite"], "nonfinite", 3, True, [["nonfinite", "zero"]]][int(rng.integers(0, 6))]
        configuration[BLOCK] = block
        return _changed(plans, f"the block is {block!r}", EITHER if block == [] else REFUSE, [BLOCK])
    if kind < 0.75:
        configuration[BLOCK] = [None, {}][int(rng.integers(0, 2))]
        return _changed(plans, "the block is empty", ACCEPT, [])
    if kind < 0.9:
        keep = int(rng.integers(0, len(clean) - 1))
        return PlansTruth(clean[:keep], f"cut off after {keep} characters", REFUSE, ["plans.json"])
    removed = ["configurations", "dataset_name", "image_reader_writer", "label_manager", "transpose_backward"]
    inner = ["preprocessor_name", "patch_size", "architecture", "normalization_schemes", "spacing", BLOCK]
    chosen = [*removed, *inner][int(rng.integers(0, len(removed) + len(inner)))]
    (plans if chosen in removed else configuration).pop(chosen)
    harmless = chosen in (BLOCK, "dataset_name", "label_manager")  # nnU-Net has defaults for these
    return _changed(plans, f"without {chosen}", EITHER if harmless else REFUSE, [chosen, "plans.json"])


def _documented(rng: np.random.Generator) -> tuple[str, Any, str]:
    key = list(DOCUMENTED)[int(rng.integers(0, len(DOCUMENTED)))]
    good = bool(rng.random() < 0.4)
    values = DOCUMENTED[key][0 if good else 1]
    return key, values[int(rng.integers(0, len(values)))], ACCEPT if good else REFUSE


def _changed(
    plans: dict[str, Any], what: str, must: str, names: list[str], block: dict[str, Any] | None = None
) -> PlansTruth:
    return PlansTruth(json.dumps(plans), what, must, names, block or {})
