"""Encoders of single modalities in the place of a backbone's one encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn


class SizesOfEncoder(NamedTuple):
    """What nnU-Net's decoder reads of its encoder to count its outputs, without holding the encoder's weights."""

    output_channels: Sequence[int]
    strides: Sequence[Sequence[int]]


class ModalityEncoders(nn.Module):
    """J encoders of the same design, one for each modality; they stand in the place of the backbone's encoder.

    Attributes:
        output_channels: of the levels after their fusion, which the decoder gets.
        branch_channels: of a single encoder's levels.
        strides, conv_op: of each encoder.
    """

    def __init__(self, encoders: Sequence[Any], output_channels: Sequence[int]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.output_channels = tuple(output_channels)
        self.branch_channels = tuple(encoders[0].output_channels)
        self.strides, self.conv_op = encoders[0].strides, encoders[0].conv_op

    def forward(self, rows: torch.Tensor, present: torch.Tensor) -> list[torch.Tensor]:
        """Return the levels (B, J, c_k, *spatial_k) of rows (B, J, C, *spatial).

        In training every encoder runs on every sample, so that its parameters take part in every step, as distributed
        training requires, and the sizes do not depend on the subsets, for which ``torch.compile`` would compile anew.
        In evaluation an encoder runs on the samples that have its modality.
        """
        if self.training:
            of_modality = [encoder(rows[:, index]) for index, encoder in enumerate(self.encoders)]
            return [torch.stack(level, dim=1) for level in zip(*of_modality, strict=True)]
        return self._of_present(rows, present)

    # Which encoders run depends on the data, which a compiled graph cannot express.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _of_present(self, rows: torch.Tensor, present: torch.Tensor) -> list[torch.Tensor]:
        samples, modalities = present.cpu().nonzero(as_tuple=True)
        levels: list[torch.Tensor] = []
        for index, encoder in enumerate(self.encoders):
            chosen = samples[modalities == index].to(rows.device, non_blocking=True)
            if not len(chosen):
                continue
            found = encoder(rows[:, index].index_select(0, chosen))
            levels = levels or [level.new_zeros(*present.shape, *level.shape[1:]) for level in found]
            for level, of_samples in zip(levels, found, strict=True):
                level[:, index].index_copy_(0, chosen, of_samples)
        if levels:
            return levels
        nothing = self.encoders[0](torch.zeros_like(rows[:, 0]))  # no sample has any modality
        return [
            torch.zeros_like(level).unsqueeze(1).expand(-1, present.shape[1], *level.shape[1:]) for level in nothing
        ]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs of all encoders."""
        encoders: Any = self.encoders
        return sum(int(encoder.compute_conv_feature_map_size(input_size)) for encoder in encoders)
