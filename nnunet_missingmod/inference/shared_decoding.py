"""Decodes all subsets of a case's modalities from features that were encoded once, and shares what is linear.

A stage's first convolution takes the upsampled features and the skip side by side. Where the skip is a mean or a
concatenation of the modalities' features, its part of the convolution is a mean or a sum of parts that depend on one
modality each. These run once, and are added up per subset; from the normalisation after it on, subsets differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from torch import nn

from nnunet_missingmod.networks.backbone import Separately
from nnunet_missingmod.networks.fusion import ConcatenateFusion, MeanFusion
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork

# The most voxels of the subsets that share a batch. Small feature maps are batched because torch on a CPU computes the
# 3D convolution of a single small map several times slower than that of two; networks whose convolutions are
# `CPUConv3d` gain little by it.
_BATCH_VOXELS = 64**3


def subsets_per_batch(spatial: Sequence[int]) -> int:
    """Return the number of subsets in one batch of feature maps of this size, one or more."""
    return max(1, _BATCH_VOXELS // math.prod(spatial))


def can_share(network: nn.Module) -> bool:
    """Return whether ``decode_subsets`` works for the network: mean or concatenation of features, nnU-Net's decoder."""
    return (
        isinstance(network, ModalityEncoderNetwork)
        and (_are_means(network) or all(_joins(fusion) for fusion in network.fusions))
        and type(network.decoder) is UNetDecoder
        and all(type(stage.convs[0]) is ConvDropoutNormReLU for stage in network.decoder.stages)
    )


def _are_means(network: ModalityEncoderNetwork) -> bool:
    return all(isinstance(fusion, MeanFusion) for fusion in network.fusions)


def _joins(fusion: nn.Module) -> bool:
    return isinstance(fusion, ConcatenateFusion) and fusion.joins


def decode_subsets(
    network: ModalityEncoderNetwork, separately: Separately, kept: torch.Tensor
) -> Iterator[torch.Tensor]:
    """Yield, for one subset after another, the logits (1, K, *spatial) of a network that `can_share`.

    Args:
        network: in evaluation mode, without deep supervision.
        separately: of its ``encode``, of one sample.
        kept: (S, J) bool, the modalities of each subset, one or more that were encoded.
    """
    yield from _Decoding(network, separately).of(_Subsets.of(kept))


class _Subsets:
    """Subsets: ``kept`` (S, J) on the network's device, and the ``channels`` of each, for which a GPU is waited for."""

    def __init__(self, kept: torch.Tensor, channels: list[list[int]]) -> None:
        self.kept, self.channels = kept, channels

    @classmethod
    def of(cls, kept: torch.Tensor) -> _Subsets:
        return cls(kept, [[channel for channel, member in enumerate(row) if member] for row in kept.tolist()])

    def part(self, start: int, size: int) -> _Subsets:
        return _Subsets(self.kept[start : start + size], self.channels[start : start + size])


class _Decoding:
    """The decoding of one sample's subsets.

    Attributes:
        shared: per stage (J, C, *spatial), each modality's part of the first convolution.
    """

    def __init__(self, network: ModalityEncoderNetwork, separately: Separately) -> None:
        self.network = network
        self.decoder: UNetDecoder = network.decoder
        self.separately = separately
        self.means = _are_means(network)
        # Then the deepest level is a mean, too, and all of the first stage's convolution one of its parts.
        self.deepest_is_linear = self.means and network.bottleneck is None
        stages = range(len(self.decoder.stages))
        self.shared = [self._part_of_modalities(stage) for stage in stages]

    def of(self, subsets: _Subsets) -> Iterator[torch.Tensor]:
        """Yield the logits of the subsets."""
        below = None
        if not self.deepest_is_linear:
            below = torch.cat([self.network.fuse_deepest(self.separately, row) for row in subsets.kept.split(1)])
        yield from self._from_stage(0, below, subsets)

    def _from_stage(self, index: int, below: torch.Tensor | None, subsets: _Subsets) -> Iterator[torch.Tensor]:
        """Yield the logits of S subsets, given their features (S, C, *spatial) from below stage ``index``."""
        if index == len(self.decoder.stages):
            assert below is not None
            yield from self.decoder.seg_layers[-1](below).split(1)
            return
        first, *others = self.decoder.stages[index].convs
        at_once = subsets_per_batch(self.shared[index].shape[2:])
        for start in range(0, len(subsets.channels), at_once):
            chunk = subsets.part(start, at_once)
            x = torch.cat([self._combined(index, channels) for channels in chunk.channels])
            if below is not None:
                upsampled = self.decoder.transpconvs[index](below[start : start + at_once])
                x += first.conv._conv_forward(upsampled, first.conv.weight[:, : upsampled.shape[1]], None)
            with nullcontext() if self.network.condition is None else self.network.condition.set(chunk.kept):
                x = first.all_modules[1:](x)  # everything after the convolution
                for block in others:
                    x = block(x)
            yield from self._from_stage(index + 1, x, chunk)

    def _combined(self, index: int, channels: list[int]) -> torch.Tensor:
        """Return (1, C, *spatial), a subset's part of the first convolution that depends on the skip, as a copy."""
        first, *others = channels
        total = self.shared[index][first : first + 1].clone()
        for modality in others:
            total += self.shared[index][modality : modality + 1]
        if self.means:
            total.div_(len(channels))
        elif (bias := self.decoder.stages[index].convs[0].conv.bias) is not None:
            total += bias.reshape(1, -1, *[1] * (total.ndim - 2))
        return total

    def _part_of_modalities(self, index: int) -> torch.Tensor:
        """Return (J, C, *spatial): the part of a stage's first convolution that depends on one modality, of each.

        Parts of a mean have the convolution's bias, those of a sum have not.
        """
        conv: Any = self.decoder.stages[index].convs[0].conv
        skip = self.separately.levels[-(index + 2)][0]  # (J, c, *spatial)
        # What was not encoded may be anything; no subset has it.
        skip = torch.where(self.separately.encoded[0].reshape(-1, *[1] * (skip.ndim - 1)), skip, 0.0)
        if index == 0 and self.deepest_is_linear:
            deepest = self.decoder.transpconvs[0](self.separately.levels[-1][0])
            whole: torch.Tensor = conv(torch.cat((deepest, skip), 1))
            return whole
        if self.means:
            part: torch.Tensor = conv._conv_forward(skip, conv.weight[:, -skip.shape[1] :], conv.bias)
            return part
        weights = conv.weight[:, -skip.shape[0] * skip.shape[1] :].chunk(len(skip), dim=1)
        parts = [
            conv._conv_forward(of_one, weight, None) for of_one, weight in zip(skip.split(1), weights, strict=True)
        ]
        return torch.cat(parts)
