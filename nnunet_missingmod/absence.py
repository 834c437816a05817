"""The absence mark: functions that read, write and fill it, and that restrict ``present`` to a subset.

An absent modality (not on disk, or dropped in training) is a channel of NaN, from the preprocessor's output to the
first line of the network. This is the only module that knows about NaN. All others use ``present``, a bool array that
is true for present modalities, and get it from here.

Present channels are finite, which the preprocessor guarantees. One NaN voxel is therefore enough to recognise an absent
channel, even if padding or masking has set its border to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

ABSENT = float("nan")

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]
Presence = TypeVar("Presence", BoolArray, torch.Tensor)


def read_case(case: FloatArray) -> BoolArray:
    """Return ``present`` (C,) of a case (C, X, Y, Z): false for a channel with the mark in any voxel."""
    return np.array([not np.isnan(channel).any() for channel in case], dtype=bool)


def mark_case(case: FloatArray, present: npt.ArrayLike) -> None:
    """Fill the absent ones among the first J channels of a case (C, X, Y, Z) with the mark, in place.

    Args:
        case: floating point array; channels after the J modalities (a previous stage's segmentation) do not change.
        present: (J,) bool with J <= C.
    """
    case[: np.size(present)][~np.asarray(present, dtype=bool)] = ABSENT


def fill_case(case: FloatArray, present: npt.ArrayLike, value: float = 0.0) -> FloatArray:
    """Return a copy of a case (C, X, Y, Z) whose absent channels hold ``value`` in every voxel."""
    filled = case.copy()
    filled[: np.size(present)][~np.asarray(present, dtype=bool)] = value
    return filled


def read(batch: torch.Tensor) -> torch.Tensor:
    """Return ``present`` (B, C) of a batch (B, C, *spatial): false for a channel with the mark in any voxel."""
    return ~batch.isnan().flatten(2).any(dim=2)


def read_uniform(batch: torch.Tensor) -> torch.Tensor:
    """Return ``present`` (B, C) from one voxel of each channel.

    It is correct for batches in which every channel is NaN in all voxels or in none, as after
    ``training.presence.PresencePreservingTransform``. The cost does not depend on the patch size.
    """
    return ~batch.flatten(2)[:, :, 0].isnan()


def mark(batch: torch.Tensor, present: torch.Tensor) -> None:
    """Fill the absent ones among the first J channels of a batch (B, C, *spatial) with the mark, in place.

    Args:
        batch: on any device.
        present: (B, J) bool with J <= C, on the CPU, so that the CPU does not wait for a batch on the GPU.
    """
    for sample, channel in (~present).nonzero().tolist():
        batch[sample, channel] = ABSENT


def fill(batch: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """Return a batch (B, C, *spatial) whose absent channels hold ``value`` in every voxel.

    The whole channel is replaced, including voxels that do not hold the mark (a border after padding). So no value of
    an absent channel reaches the network, and its gradient is exactly zero.
    """
    present = read(batch)
    return torch.where(over_voxels(present, batch), batch, value)


def over_voxels(present: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return ``present`` (B, J) in a shape that broadcasts over ``values`` (B, J, ...)."""
    return present.reshape(*present.shape, *[1] * (values.ndim - 2))


def present_of(subsets: Sequence[Sequence[int]], num_modalities: int) -> torch.Tensor:
    """Return ``present`` (S, J) bool of samples that have these subsets, on the CPU.

    Args:
        subsets: S times channels.
        num_modalities: J.
    """
    present = torch.zeros(len(subsets), num_modalities, dtype=torch.bool)
    for row, subset in zip(present, subsets, strict=True):
        row[list(subset)] = True
    return present


def restrict(present: Presence, subset: Presence) -> Presence:
    """Return the modalities that each sample has of a subset; a sample that has none of them keeps all that it has.

    For each sample it is ``present & subset`` if that is not empty, else ``present``, because a sample without any
    modality can be neither learned from nor predicted. A sample that has no modality at all stays as it is.

    Args:
        present: (B, J) bool, numpy or torch.
        subset: bool, (J,) for all samples or (B, J) for each sample; of the same library and on the same device.
    """
    kept = present & subset
    if isinstance(kept, torch.Tensor):
        return torch.where(kept.any(1, keepdim=True), kept, present)
    return np.where(kept.any(axis=1, keepdims=True), kept, present)
