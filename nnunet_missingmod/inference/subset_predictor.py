"""nnU-Net's predictor for all subsets of a preprocessed case at once: its sliding window, on stacked logits."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod.inference.all_subsets import SubsetStack
from nnunet_missingmod.modalities import Subset, channel_names

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
