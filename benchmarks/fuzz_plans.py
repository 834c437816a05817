"""Ways to change a model folder's plans.json, each with what must come of it, from the documentation alone."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_truth import ACCEPT, EITHER, REFUSE
from tiny_model import CONFIGURATION

BLOCK = "missingmod"

README = Path(__file__).parents[1] / "plans" / "README.md"

# What the words of plans/README.md mean: values allowed, values refused. None stands apart: see ``read_documented``.
MEANINGS: dict[str, tuple[list[Any], list[Any]]] = {
    "integer, at least 1": ([1, 2, 1000], [0, -1, 1.5, "1", True, [1], math.nan]),
    "integer, at least 0": ([0, 7, 2**40], [-1, 1.5, "0", True]),
    "number above 0": ([1e-9, 0.01, 5], [0, -0.1, "0.1", True, math.nan, math.inf]),
    "number above 0, not 1": ([1.1, 2, 0.5], [1, 0, -2, "2", True, math.nan]),
    "number, at least 0": ([0, 0.125, 3], [-0.1, "1", False, math.nan, math.inf, {}]),
    "number from 0 to 1": ([0, 0.33, 1], [-0.1, 1.1, "0.3", True, math.nan]),
    "number above 0, up to 1": ([0.01, 0.33, 1], [0, -0.1, 1.1, "0.3", True, math.nan]),
    "number from 0 up to, not including, 1": ([0, 0.5, 0.99], [1, 1.5, -0.1, "0.5", True, math.nan]),
    "true or false": ([True, False], [0, 1, "true", []]),
    "channel name, or `auto`": (["auto"], [3, True, ["auto"]]),
    "`auto`, `average`, the name of a trainer, or the path of a model folder": (
        ["auto", "average", "nnUNetTrainer"],
        ["", 5, ["auto"]],
    ),
    "`auto`, or a number from 0 up to, not including, 1": (["auto", 0, 0.995], [1, -0.1, "0.5", True, math.nan]),
    "`all`, or a list of channel names": (["all", ["FLAIR"], ["T1", "T2"]], ["FLAIR", [], [None], 3]),
    "`none`, `uniform`, `uniform_count`, `bernoulli`, or {`modality`: probability below 1, ...}": (
        ["none", "uniform", "uniform_count", "bernoulli", {"FLAIR": 0.35, "T1": 0}, {"t1CE": 0.999}],
        [
            *("", "unifrom", "UNIFORM", 0.3, True, [], ["uniform"], {}, {"FLAIR": 1}, {"FLAIR": -0.1}),
            *({"FLAIR": "0.3"}, {"FLAIR": True}, {"FLAIR": None}, {"FLAIR": math.nan}, {"FLAIR": 0.3, "T1": [0.3]}),
        ],
    ),
    "`none`, {`modality+modality`: weight, ...}, or the path of a prevalence file": (
        ["none", {"T2+FLAIR": 3, "T1": 0}, {"t1ce": 1e308, "T1": 1e308}, "prevalence.csv", "$HOME/a file.csv"],
        [
            *("", " ", 3, True, [], ["T1"], {}, {"T1": 0}, {"T1": -1}, {"T1": "3"}, {"T1": True}, {"T1": math.inf}),
            *({"T1": math.nan}, {"T1": None}, {"T1": 10**400}, {"T1": 1, "T2": [1]}),
        ],
    ),
    "`learned`, `brats`, or {`modality`: [`the first other`, ...], ...}": (
        ["learned", "brats", {"FLAIR": ["T1"], "T1": ["FLAIR"]}],
        ["list", 3, ["FLAIR"], {"FLAIR": "T1"}, {"FLAIR": [1]}],
    ),
    "`depth`, `deepest`, or a list of numbers of at least 0, one per encoder level, shallowest first": (
        ["depth", "deepest", [0, 1, 2]],
        ["shallow", 3, [-1, 2], ["a"], [], {}],
    ),
}


def _words(*allowed: str) -> tuple[list[Any], list[Any]]:
    return list(allowed), ["", allowed[0].upper(), f"{allowed[0]} ", "nonsense", 0, True, [allowed[0]], {}]


def read_documented(text: str) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return what a document's tables of keys say: {key: (values allowed, values refused)}.

    None keeps nnU-Net's own value where the document says that this is the default, and is refused elsewhere.

    Raises:
        KeyError: the document says the allowed values in words that ``MEANINGS`` lacks.
    """
    documented = {}
    tables = "".join(re.findall(r"<!-- table: keys .*?<!-- end of table -->", text, flags=re.DOTALL))
    for key, default, allowed in re.findall(
        r"^\| `(\w+)` \| (\S+) \| ([^|]+) \| [^|]+ \|$", tables, flags=re.MULTILINE
    ):
        names = re.findall(r"`(\w+)`", allowed)
        is_list_of_names = re.sub(r"`\w+`|, | or ", "", allowed) == ""
        yes, no = _words(*names) if is_list_of_names else MEANINGS[allowed]
        documented[key] = (yes, no if default == "nnU-Net's" else [*no, None])
    return documented


DOCUMENTED = read_documented(README.read_text(encoding="utf-8"))


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
