"""The predictions of all subsets of modalities from one pass over a case: nnU-Net's sliding window, on stacked logits.

For the parallel networks each modality's branch runs once and is fused as often as there are subsets; the early and
stock networks run once per subset, in batches where patches are small. What comes out is what the same network says of
the same patch with the other modalities marked absent.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import nn

from nnunet_missingmod import absence
from nnunet_missingmod.modalities import Subset, channel_names
from nnunet_missingmod.networks.branches import fuse_subsets
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


class SubsetStack(nn.Module):
    """A network whose output channels are the logits of several subsets, one subset after the other.

    nnU-Net's sliding window, Gaussian weights, mirroring and mean over folds act on each output channel by itself, and
    so work on all subsets at once.

    Args:
        network: any that knows the absence mark, in one piece (neither compiled nor distributed).
        num_modalities: J.

    Attributes:
        subsets: the S subsets of the next forward, channels each. Of a modality that is absent from the input, a
            subset is what is left of it, which must not be nothing.
    """

    def __init__(self, network: nn.Module, num_modalities: int) -> None:
        super().__init__()
        self.network = network
        self.num_modalities = num_modalities
        self.subsets: Sequence[Subset] = ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (1, S * K, *spatial) for a patch (1, J + E, *spatial) whose absent modalities are marked."""
        return torch.cat(list(self._each(x)), dim=1)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load the weights of the network itself: those of a fold."""
        return self.network.load_state_dict(state_dict, *args, **kwargs)

    def _each(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        if not isinstance(self.network, ParallelNetwork):
            for kept in self._members().split(subsets_per_batch(x.shape[2:])):
                marked = x.repeat(len(kept), *[1] * (x.ndim - 1))
                absence.mark(marked, kept)
                yield from self.network(marked).split(1)
        elif self.network.fused_at == "logits":
            branches = self.network(x, return_branches=True)
            for output in fuse_subsets(branches, self.subsets):
                assert isinstance(output.logits, torch.Tensor)
                yield output.logits
        else:
            levels, _, pairs = self.network.encode(x)
            if can_share(self.network):
                row_of = {channel: row for row, channel in enumerate(pairs.modality.tolist())}
                rows = [[row_of[channel] for channel in subset if channel in row_of] for subset in self.subsets]
                yield from decode_subsets(self.network.decoder, levels, rows)
                return
            for kept in self._members().to(x.device):
                yield self.network.decoder(self.network.fuse_levels(levels, pairs, pairs.present & kept))

    def _members(self) -> torch.Tensor:
        members = torch.zeros(len(self.subsets), self.num_modalities, dtype=torch.bool)
        for row, subset in zip(members, self.subsets, strict=True):
            row[list(subset)] = True
        return members


logger = logging.getLogger(__name__)

# Of what is free; the rest is the network's activations and whatever else runs.
_SHARE_OF_FREE_MEMORY = 0.4
_HALF = 2
# Per output value of a patch: the network's stack, its mirrored copy, and the sum over mirrored patches, in float32.
_PATCH_BYTES = 3 * 4
# Where the system does not say (other than Linux).
_ASSUMED_FREE_BYTES = 4 * 1024**3


class _StackedHeads(NamedTuple):
    """Stands in for the label manager where nnU-Net's sliding window asks how many channels the network returns."""

    num_segmentation_heads: int


class SubsetPredictor(nnUNetPredictor):
    """Predict a preprocessed case under each of several subsets of its modalities.

    Built and initialised as ``nnUNetPredictor`` is; only the network is replaced by one that returns the logits of
    several subsets as further output channels.
    """

    label_manager: Any
    network: Any

    def manual_initialization(self, network: Any, plans_manager: Any, *args: Any, **kwargs: Any) -> None:
        """Initialise as nnU-Net does, with the network of stacked subsets."""
        super().manual_initialization(network, plans_manager, *args, **kwargs)
        self.num_heads = int(self.label_manager.num_segmentation_heads)
        # Compiled as a whole it would hide which network it is.
        self.network = SubsetStack(network, len(channel_names(self.dataset_json)))

    def predict_logits_of_subsets(
        self, data: torch.Tensor, subsets: Sequence[Subset]
    ) -> Iterator[tuple[Subset, torch.Tensor]]:
        """Yield the logits (K, *spatial), half precision and on the CPU, of each subset in turn.

        All subsets go through the sliding window together if their results fit in memory, else in as few passes as
        do; each pass repeats the branches of the parallel networks.

        Args:
            data: (J + E, *spatial), preprocessed, absent modalities marked.
            subsets: channels each, all of them present in ``data``.
        """
        at_once = self._subsets_at_once(data.shape[1:])
        if at_once < len(subsets):
            passes = -(-len(subsets) // at_once)
            logger.info("Memory for %d of %d subsets at once: %d passes.", at_once, len(subsets), passes)
        waiting = list(subsets)
        while waiting:
            chunk, stacked = waiting[:at_once], None
            try:
                stacked = self._predict_stack(data, chunk)
            except torch.OutOfMemoryError:
                if at_once == 1 or len(chunk) == 1:
                    raise
            if stacked is None:
                # Outside of the handler, whose traceback would keep what has been allocated.
                at_once = -(-len(chunk) // 2)
                logger.warning("The GPU has no memory for %d subsets at once: going on with %d.", len(chunk), at_once)
                torch.cuda.empty_cache()
                continue
            del waiting[: len(chunk)]
            for index, subset in enumerate(chunk):
                yield subset, stacked[index * self.num_heads : (index + 1) * self.num_heads]

    def _predict_stack(self, data: torch.Tensor, subsets: Sequence[Subset]) -> torch.Tensor:
        self.network.subsets = subsets
        self.label_manager = _StackedHeads(len(subsets) * self.num_heads)
        return self.predict_logits_from_preprocessed_data(data)

    def _subsets_at_once(self, shape: Sequence[int]) -> int:
        patch = int(np.prod(self.configuration_manager.patch_size))
        volume = max(patch, int(np.prod(shape)))
        bytes_per_subset = self.num_heads * (volume * _HALF + patch * _PATCH_BYTES)
        free = _free_bytes(self.device)
        return max(1, int(free * _SHARE_OF_FREE_MEMORY / bytes_per_subset))


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return _ASSUMED_FREE_BYTES
