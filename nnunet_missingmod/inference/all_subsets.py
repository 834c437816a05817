"""Predicts a preprocessed case under all subsets of its modalities, in one pass of nnU-Net's sliding window.

The logits of all subsets are stacked as output channels. In the parallel networks each modality's branch runs once, and
only the fusion runs once per subset. The early and stock networks run once per subset, in batches if the patch is
small. The results are those of the same network for the same patch with the other modalities marked absent.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from nnunet_missingmod import absence
from nnunet_missingmod.evaluation.agreement import CroppedLabels
from nnunet_missingmod.inference.fold_labels import FoldLabelsPredictor
from nnunet_missingmod.inference.shared_decoding import can_share, decode_subsets, subsets_per_batch
from nnunet_missingmod.modalities import Subset, channel_names
from nnunet_missingmod.networks.backbone import subset_only, unwrapped
from nnunet_missingmod.networks.branches import fuse_subsets
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork

logger = logging.getLogger(__name__)

# The share of the free memory that the results may use; the rest is for the network's activations and other programs.
_SHARE_OF_FREE_MEMORY = 0.4
_RESULT_BYTES = 2  # per output value of a volume, in float16
# Per output value of a patch, in float32: the network's stack, its mirrored copy, and the sum over mirrored patches.
_PATCH_BYTES = 3 * 4
# Used where the free memory is unknown (on other systems than Linux).
_ASSUMED_FREE_BYTES = 4 * 1024**3


class SubsetStack(nn.Module):
    """A network whose output channels are the logits of several subsets, one subset after the other.

    nnU-Net's sliding window, Gaussian weights, mirroring and mean over folds treat each output channel independently,
    so they work on all subsets at once.

    Args:
        network: one that reads the absence mark; it is used as it is, not compiled.
        num_modalities: J.

    Attributes:
        subsets: the S subsets of the next forward pass, each a tuple of channels. Modalities that are absent from the
            input, or that the model was not trained on (``modality_subset``), are left out of every subset; each must
            keep at least one.
    """

    def __init__(self, network: nn.Module, num_modalities: int) -> None:
        super().__init__()
        self.network = unwrapped(network)
        self.num_modalities = num_modalities
        self.subsets: Sequence[Subset] = ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (1, S * K, *spatial) for a patch (1, J + E, *spatial) whose absent modalities are marked."""
        return torch.cat(list(self._logits_of_each_subset(x)), dim=1)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load a fold's weights into the wrapped network, under that network's own names."""
        return self.network.load_state_dict(state_dict, *args, **kwargs)

    def _logits_of_each_subset(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        subsets = self.subsets
        only = subset_only(self.network)
        if only is not None:  # what is below does not call the network as a whole
            x, subsets = only.mark(x), [only.within(subset) for subset in subsets]
        if isinstance(self.network, ParallelNetwork):
            branches = self.network(x, return_branches=True)
            for output in fuse_subsets(branches, subsets):
                assert isinstance(output.logits, torch.Tensor)
                yield output.logits
        elif isinstance(self.network, ModalityEncoderNetwork):
            separately = self.network.encode(x)
            members = separately.encoded_on_host() & absence.present_of(subsets, self.num_modalities)
            if can_share(self.network):
                yield from decode_subsets(self.network, separately, members.to(x.device, non_blocking=True))
                return
            for kept in members.split(1):
                logits, _, _ = self.network.fuse_and_decode(separately, kept)
                assert isinstance(logits, torch.Tensor)
                yield logits
        else:
            members = absence.present_of(subsets, self.num_modalities)
            for kept in members.split(subsets_per_batch(x.shape[2:])):
                marked = x.repeat(len(kept), *[1] * (x.ndim - 1))
                absence.mark(marked, kept)
                yield from self.network(marked).split(1)


class _StackedHeads(NamedTuple):
    """Replaces the label manager, from which nnU-Net's sliding window reads the number of output channels."""

    num_segmentation_heads: int


class SubsetPredictor(FoldLabelsPredictor):
    """nnU-Net's predictor that predicts a preprocessed case under each of several subsets of its modalities.

    It is built and initialised like ``nnUNetPredictor``. It replaces the network by a `SubsetStack`.

    Attributes:
        fold_labels: what each fold alone would have segmented, of the subsets that were predicted together last; empty
            lists if there is one fold.
    """

    label_manager: Any
    network: Any

    def manual_initialization(self, network: Any, plans_manager: Any, *args: Any, **kwargs: Any) -> None:
        """Initialise as nnU-Net does, with the network of stacked subsets."""
        super().manual_initialization(network, plans_manager, *args, **kwargs)
        self.num_heads = int(self.label_manager.num_segmentation_heads)
        self.fold_labels: dict[Subset, list[CroppedLabels]] = {}
        self.network = SubsetStack(network, len(channel_names(self.dataset_json)))

    def predict_logits_of_subsets(
        self, data: torch.Tensor, subsets: Sequence[Subset]
    ) -> Iterator[tuple[Subset, torch.Tensor]]:
        """Yield one subset after another with its logits (K, *spatial), in half precision and on the CPU.

        All subsets go through the sliding window together if their results fit into memory. Otherwise they are split
        into as few passes as possible; each pass computes the branches of the parallel networks again.

        Args:
            data: (J + E, *spatial), preprocessed, absent modalities marked.
            subsets: each a tuple of channels, all of them present in ``data``.
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
                # Outside of the except block, because there the traceback still holds the allocated tensors.
                at_once = -(-len(chunk) // 2)
                logger.warning("The GPU has no memory for %d subsets at once: going on with %d.", len(chunk), at_once)
                torch.cuda.empty_cache()
                continue
            del waiting[: len(chunk)]
            self.fold_labels = {subset: self.labels_of_folds(index) for index, subset in enumerate(chunk)}
            for index, subset in enumerate(chunk):
                yield subset, stacked[index * self.num_heads : (index + 1) * self.num_heads]

    def _predict_stack(self, data: torch.Tensor, subsets: Sequence[Subset]) -> torch.Tensor:
        self.network.subsets = subsets
        self.label_manager = _StackedHeads(len(subsets) * self.num_heads)
        return self.predict_logits_from_preprocessed_data(data)

    def _subsets_at_once(self, shape: Sequence[int]) -> int:
        patch = int(np.prod(self.configuration_manager.patch_size))
        volume = max(patch, int(np.prod(shape)))
        bytes_per_subset = self.num_heads * (volume * _RESULT_BYTES + patch * _PATCH_BYTES)
        free = _free_bytes(self.device)
        return max(1, int(free * _SHARE_OF_FREE_MEMORY / bytes_per_subset))


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return _ASSUMED_FREE_BYTES
