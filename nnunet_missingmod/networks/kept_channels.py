"""Convolutions that leave out the channels of modalities that are not kept, which a concatenation fills with zeros.

Slim encoders' levels are put side by side, so that most of a skip is zeros where a case has few modalities. The
decoder's first convolution of a stage, which takes upsampled features and the skip, need not multiply them::

    W * [u, s_1, ..., s_J] = W_u * u + sum_{j kept} W_j * s_j

The result is the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from nnunet_missingmod.networks.cpu_convolutions import CPUConv2d, CPUConv3d


class KeptChannels:
    """Which modalities a network keeps during a pass through its decoder; None between two passes.

    Args:
        num_modalities: J.

    Attributes:
        has_any: whether there is a convolution that leaves out the others.
    """

    def __init__(self, num_modalities: int) -> None:
        self.num_modalities = num_modalities
        self.has_any = False
        self.modalities: tuple[int, ...] | None = None

    @contextmanager
    def set(self, modalities: Sequence[int]) -> Iterator[None]:
        """Leave out the others inside the ``with`` block, in which the decoder runs."""
        self.modalities = tuple(modalities)
        try:
            yield
        finally:
            self.modalities = None

    def select(self, values: torch.Tensor) -> torch.Tensor:
        """Return what is used of (N, 2 C, ...): C upsampled channels, and of C channels of the skip those kept."""
        assert self.modalities is not None
        upsampled = values.shape[1] // 2
        width = upsampled // self.num_modalities
        parts = [values.narrow(1, upsampled + modality * width, width) for modality in self.modalities]
        return torch.cat([values.narrow(1, 0, upsampled), *parts], dim=1)


class _Keeps:
    """A convolution that takes upsampled channels and a skip's, and leaves out what is not kept of the skip."""

    kept_channels: KeptChannels

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self.kept_channels.modalities is not None:
            input, weight = map(self.kept_channels.select, (input, weight))
        convolved: torch.Tensor = super()._conv_forward(input, weight, bias)  # type: ignore[misc]
        return convolved


class KeptConv2d(_Keeps, CPUConv2d):
    """The first convolution of a decoder's stage in 2D."""


class KeptConv3d(_Keeps, CPUConv3d):
    """The first convolution of a decoder's stage in 3D."""


_KEPT: dict[type, Any] = {CPUConv2d: KeptConv2d, CPUConv3d: KeptConv3d}


def use_kept_channels(decoder: Any, num_modalities: int, channels: Sequence[int | None]) -> KeptChannels:
    """Let the convolutions that take a skip of a decoder leave out what its modalities do not keep.

    Args:
        decoder: nnU-Net's, whose convolutions are `CPUConv2d` or `CPUConv3d`.
        num_modalities: J, whose levels are side by side in each skip.
        channels: of each level, full resolution first; None of levels that are fused otherwise.
    """
    kept = KeptChannels(num_modalities)
    if not any(channels):
        return kept
    for stage, skip in zip(decoder.stages, reversed(channels[:-1]), strict=True):
        for layer in stage.modules():
            # Others in a stage take as many channels as the skip has alone.
            if skip is not None and type(layer) in _KEPT and layer.in_channels == 2 * skip and layer.groups == 1:
                layer.__class__ = _KEPT[type(layer)]
                layer.kept_channels = kept
                kept.has_any = True
    return kept
