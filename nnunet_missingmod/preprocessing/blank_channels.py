"""Finds blank channels in preprocessed cases, after nnU-Net's own preprocessor, which knows no blank ones, wrote them.

A channel of one value has one value after every normalisation too: 0 by its own mean, or (value - mean) / deviation by
those of the dataset. The trainer takes such channels for absent ones.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nnunet_missingmod.absence import BoolArray

_LOOK = 16  # voxels per axis that are looked at first
_ROUNDING = 1e-5  # resampling rounds; relative to the largest value


class Sliceable(Protocol):
    """An array, or a file that is one when it is sliced, as blosc2 opens it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all axes."""

    def __getitem__(self, index: Any, /) -> npt.NDArray[Any]:
        """Return a part."""


def constant_channels(data: Sliceable, seg: Sliceable) -> BoolArray:
    """Return (C,), whether each channel of a preprocessed case has one value in all voxels that nnU-Net normalises.

    A few voxels in the middle tell of most channels that they vary; only the others are read as a whole.

    Args:
        data: (C, X, Y, Z), as nnU-Net's dataset loads it.
        seg: (1, X, Y, Z), below 0 where all images of the case were 0: what lies there is not looked at.
    """
    middle = tuple(slice(max((n - _LOOK) // 2, 0), (n + _LOOK) // 2 + 1) for n in data.shape[1:])
    everything = tuple(slice(None) for _ in data.shape[1:])
    constant = np.ones(data.shape[0], dtype=bool)
    for part in (middle, everything):
        if not constant.any():
            break
        inside = np.asarray(seg[(slice(0, 1), *part)])[0] >= 0
        for channel in np.flatnonzero(constant):
            values = np.asarray(data[(slice(int(channel), int(channel) + 1), *part)])[0]
            constant[channel] = _is_constant(values[inside] if inside.any() else values)
    return constant


def _is_constant(values: npt.NDArray[Any]) -> bool:
    low, high = float(values.min()), float(values.max())
    return high - low <= _ROUNDING * max(abs(low), abs(high))
