"""Every subset's decoding, for the network that fuses features by their mean, without repeating what subsets share.

A convolution is affine and the weights of a mean add up to 1, so that the convolution of the mean of features is the
mean of their convolutions. Each stage of nnU-Net's decoder begins with a convolution over what comes from below and the
skip. The skip's half of it is computed once per modality instead of once per subset, and in the deepest stage, where
both come from the encoder, the whole of it. What follows (normalisation, non-linearity, further convolutions) is each
subset's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from torch import nn

from nnunet_missingmod.networks.fusion import MeanFusion
from nnunet_missingmod.networks.parallel import ParallelNetwork

# As many subsets share a batch as have no more voxels together. Small feature maps need company: on a CPU, torch
# computes 3D convolutions of a lone small map several times slower than those of two.
_BATCH_VOXELS = 64**3


def subsets_per_batch(spatial: Sequence[int]) -> int:
    """Return how many subsets go into one batch of feature maps of this size, one or more."""
    return max(1, _BATCH_VOXELS // math.prod(spatial))


def can_share(network: nn.Module) -> bool:
    """Return whether ``decode_subsets`` fits the network: mean fusion at features, nnU-Net's U-Net decoder."""
    return (
        isinstance(network, ParallelNetwork)
        and network.fused_at == "features"
        and all(isinstance(fusion, MeanFusion) for fusion in network.fusions)
        and type(network.decoder) is UNetDecoder
        and all(type(stage.convs[0]) is ConvDropoutNormReLU for stage in network.decoder.stages)
    )


def decode_subsets(
    decoder: UNetDecoder, levels: Sequence[torch.Tensor], subsets: Sequence[Sequence[int]]
) -> Iterator[torch.Tensor]:
    """Yield the logits (1, K, *spatial) of the mean of each subset's branches, in turn.

    Args:
        decoder: without deep supervision.
        levels: per level, full resolution first, (N, C_k, *spatial_k): the encoder's features of N branches.
        subsets: rows of the branches each, one or more.
    """
    shared = [_shared_part(decoder, stage, levels) for stage in range(len(decoder.stages))]
    yield from _decode_from(decoder, shared, 0, None, subsets)


def _decode_from(
    decoder: UNetDecoder,
    shared: Sequence[torch.Tensor],
    index: int,
    below: torch.Tensor | None,
    subsets: Sequence[Sequence[int]],
) -> Iterator[torch.Tensor]:
    """Yield the logits of subsets whose features ``below`` stage ``index``, (S, C, *spatial), are computed."""
    if index == len(decoder.stages):
        assert below is not None
        yield from decoder.seg_layers[-1](below).split(1)
        return
    first, *others = decoder.stages[index].convs
    at_once = subsets_per_batch(shared[index].shape[2:])
    for start in range(0, len(subsets), at_once):
        chunk = subsets[start : start + at_once]
        x = torch.cat([_mean_of_rows(shared[index], rows) for rows in chunk])
        if below is not None:
            upsampled = decoder.transpconvs[index](below[start : start + at_once])
            x += first.conv._conv_forward(upsampled, first.conv.weight[:, : upsampled.shape[1]], None)
        x = first.all_modules[1:](x)  # all but the convolution
        for block in others:
            x = block(x)
        yield from _decode_from(decoder, shared, index + 1, x, chunk)


def _shared_part(decoder: UNetDecoder, index: int, levels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return (N, C, *spatial): of each branch, the part of a stage's first convolution that knows no other branch."""
    conv: Any = decoder.stages[index].convs[0].conv
    skip = levels[-(index + 2)]
    if index == 0:
        deepest: torch.Tensor = conv(torch.cat((decoder.transpconvs[0](levels[-1]), skip), 1))
        return deepest
    part: torch.Tensor = conv._conv_forward(skip, conv.weight[:, -skip.shape[1] :], conv.bias)
    return part


def _mean_of_rows(values: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Return (1, C, *spatial), memory of its own."""
    first, *others = rows
    total = values[first : first + 1].clone()
    for row in others:
        total += values[row : row + 1]
    return total.div_(len(rows)) if others else total
