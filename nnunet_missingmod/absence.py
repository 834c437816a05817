"""The absence mark, and everything that knows about it: read, mark, fill, restrict.

A modality that is absent (not on disk, or dropped in training) is a channel that is entirely NaN, from the
preprocessor's output to the network's first line. Every other module asks this one for ``present``, a bool array that
is true where a modality is there, and never looks at NaN itself. What ``present`` becomes under a subset of modalities
is said here too (``restrict``).

Present channels are finite (the preprocessor guarantees it), so one NaN voxel is enough to recognise an absent channel
whose border was padded or masked with zeros on its way.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

ABSENT = float("nan")

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.floating]
Presence = TypeVar("Presence", BoolArray, torch.Tensor)


def read_case(case: FloatArray) -> BoolArray:
    """Return ``present`` (C,) of a case (C, X, Y, Z): false where a channel holds the absence mark anywhere."""
    return np.array([not np.isnan(channel).any() for channel in case], dtype=bool)


def mark_case(case: FloatArray, present: npt.ArrayLike) -> None:
    """Overwrite the absent ones of the first J channels of a case (C, X, Y, Z) with the mark, in place.

    Args:
        case: floating point array; channels after the J modalities (a previous stage's segmentation) are left alone.
        present: (J,) bool with J <= C.
    """
    case[: np.size(present)][~np.asarray(present, dtype=bool)] = ABSENT


def fill_case(case: FloatArray, present: npt.ArrayLike, value: float = 0.0) -> FloatArray:
    """Return a copy of a case (C, X, Y, Z) whose absent channels hold ``value`` in every voxel."""
    filled = case.copy()
    filled[: np.size(present)][~np.asarray(present, dtype=bool)] = value
    return filled


def read(batch: torch.Tensor) -> torch.Tensor:
    """Return ``present`` (B, C) of a batch (B, C, *spatial): false where a channel holds the mark anywhere."""
    return ~batch.isnan().flatten(2).any(dim=2)


def read_uniform(batch: torch.Tensor) -> torch.Tensor:
    """Return ``present`` (B, C) from one voxel of each channel, for batches whose channels are all NaN or not at all.

    That holds behind ``training.presence_transform``. The cost does not depend on the patch size.
    """
    return ~batch.flatten(2)[:, :, 0].isnan()


def mark(batch: torch.Tensor, present: torch.Tensor) -> None:
    """Overwrite the absent ones of the first J channels of a batch (B, C, *spatial) with the mark, in place.

    Args:
        batch: on any device.
        present: (B, J) bool with J <= C, on the CPU: its values are read on the host, so that a batch on a GPU is
            marked without waiting for it.
    """
    for sample, channel in (~present).nonzero().tolist():
        batch[sample, channel] = ABSENT


def fill(batch: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """Return a batch (B, C, *spatial) whose absent channels hold ``value`` in every voxel.

    The whole channel is replaced, so that nothing an absent channel holds (its border, say, after padding) reaches the
    network, and its gradient is exactly zero.
    """
    present = read(batch)
    return torch.where(present.reshape(*present.shape, *[1] * (batch.ndim - 2)), batch, value)


def restrict(present: Presence, subset: Presence) -> Presence:
    """Return what each sample has of a subset of modalities; one that has nothing of it keeps all that it has.

    ``kept = present & subset`` where that is not empty, else ``present``: an example without any modality would teach
    and tell nothing. A sample that has no modality at all stays as it is.

    Args:
        present: (B, J) bool, numpy or torch.
        subset: (J,) bool, one for all, or (B, J), one for each sample; of the same kind and on the same device.
    """
    kept = present & subset
    if isinstance(kept, torch.Tensor):
        return torch.where(kept.any(1, keepdim=True), kept, present)
    return np.where(kept.any(axis=1, keepdims=True), kept, present)
