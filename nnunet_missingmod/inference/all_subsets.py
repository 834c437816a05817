"""The logits of many subsets of modalities from one pass over a patch.

For the parallel networks each modality's branch runs once and is fused as often as there are subsets; the early and
stock networks run once per subset, in batches where patches are small. What comes out is what the same network says of
the same patch with the other modalities marked absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from nnunet_missingmod import absence
from nnunet_missingmod.inference.shared_decoding import can_share, decode_subsets, subsets_per_batch
from nnunet_missingmod.modalities import Subset
from nnunet_missingmod.networks.branches import fuse_subsets
from nnunet_missingmod.networks.parallel import ParallelNetwork


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
