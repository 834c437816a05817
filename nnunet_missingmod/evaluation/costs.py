"""What a model costs: parameters, time and memory of a prediction, and their ratios to another model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The cost of predicting one case with all of its modalities, on one machine.

    Attributes:
        parameters: of one fold's network.
        folds: that predict together, one after the other.
        seconds: of the sliding window over the preprocessed case, all folds: no reading, resampling or writing.
        peak_bytes: the most memory that the prediction takes beyond what is in use before it (weights are), on the
            GPU's memory where the network runs on one; None where the system does not tell.
        voxels: the preprocessed case's (X, Y, Z).
        device: what the network runs on, in words.
    """

    parameters: int
    folds: int
    seconds: float
    peak_bytes: int | None
    voxels: tuple[int, ...]
    device: str


@dataclass(frozen=True)
class CostRatio:
    """A model's cost beside the baseline's; a ratio is None where one of the two was not measured, or elsewhere."""

    model: str
    cost: Cost
    parameters: float | None
    seconds: float | None
    peak_bytes: float | None


def cost_ratios(costs: Mapping[str, Cost], baseline: str) -> list[CostRatio]:
    """Return the models' costs in their order, as ratios to the baseline's.

    Time and memory are compared only where both were measured on the same device for a case of the same size.
    """
    reference = costs.get(baseline)
    found = []
    for model, cost in costs.items():
        alike = reference is not None and (reference.device, reference.voxels) == (cost.device, cost.voxels)
        found.append(
            CostRatio(
                model,
                cost,
                _ratio(cost.parameters, None if reference is None else reference.parameters),
                _ratio(cost.seconds, reference.seconds if alike and reference else None),
                _ratio(cost.peak_bytes, reference.peak_bytes if alike and reference else None),
            )
        )
    return found


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None
