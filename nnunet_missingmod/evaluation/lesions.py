"""Lesion-wise measurements of a region's mask by panoptica, which need not be installed: it is the extra ``lesions``.

A lesion is a connected component of the mask. What a region's Dice hides, many small ones missed beside a large one
that is found, counts here.
"""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from nnunet_missingmod.evaluation.metrics import Mask

EXTRA = 'pip install "nnunet_missingmod[lesions]"'
LEAST_OVERLAP = 0.5
"""The intersection over union from which on a predicted lesion is one of the reference's."""


@dataclass(frozen=True)
class LesionScore:
    """The lesions of one region of one prediction.

    ``dice`` is the mean Dice of the matched pairs, NaN without any. ``F1 = 2 matched / (reference + predicted)`` is
    what panoptica calls recognition quality, ``dice`` its segmentation quality; their product is panoptic quality.
    """

    reference: int
    predicted: int
    matched: int
    dice: float


def are_available() -> bool:
    """Return whether panoptica is installed."""
    return find_spec("panoptica") is not None


def lesion_score(predicted: Mask, reference: Mask) -> LesionScore:
    """Return the lesions of two boolean masks of one shape, two or three axes.

    Components touch by faces, edges or corners, those of two axes by sides. Each predicted one is matched with the one
    of the reference with which its intersection over union is at least `LEAST_OVERLAP`, which is one at most (Kofler et
    al. 2023, panoptica).

    Raises:
        ImportError: panoptica is not installed.
    """
    if not predicted.any() or not reference.any():
        in_reference, in_prediction = (_components(mask) if mask.any() else 0 for mask in (reference, predicted))
        return LesionScore(in_reference, in_prediction, 0, np.nan)
    with contextlib.redirect_stdout(io.StringIO()):
        found = _evaluator().evaluate(predicted.astype(np.uint8), reference.astype(np.uint8))["ungrouped"]
    return LesionScore(
        int(found.n_ref_instances),
        int(found.n_pred_instances),
        int(found.tp),
        float(found.sq_dsc) if found.tp else np.nan,
    )


def _components(mask: Mask) -> int:
    """Return how many components a mask has: it is its own prediction."""
    return lesion_score(mask, mask).reference


@lru_cache(maxsize=1)
def _evaluator() -> Any:
    # It prints how to cite it, once for each process of workers.
    os.environ.setdefault("NO_CITATION_REMINDER", "true")
    from panoptica import (
        ConnectedComponentsInstanceApproximator,
        InputType,
        NaiveThresholdMatching,
        Panoptica_Evaluator,
    )
    from panoptica.metrics import Metric

    return Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=NaiveThresholdMatching(matching_metric=Metric.IOU, matching_threshold=LEAST_OVERLAP),
        instance_metrics=[Metric.DSC],
        global_metrics=[],
    )
