"""Branches: the (sample, modality) pairs that are there, computed as one batch, and every subset made from them.

The fusion of logits is a mean, so one pass of the branches yields the prediction of each of the 2^J - 1 subsets.
``training.subset_objective`` trains on all of them in the memory of one.

Source: Cheng et al., Robust Divergence Learning for Missing-Modality Segmentation (dynamic combination).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from nnunet_missingmod.modalities import Subset
from nnunet_missingmod.networks.backbone import Logits, map_logits
from nnunet_missingmod.networks.fusion import mean_fusion


class Pairs(NamedTuple):
    """The N present (sample, modality) pairs of a batch, sample by sample.

    Attributes:
        present: (B, J) bool.
        sample: (N,) int64.
        modality: (N,) int64.
        stands_in: whether nothing is present and the one pair is there only so that the backbone can run.
    """

    present: torch.Tensor
    sample: torch.Tensor
    modality: torch.Tensor
    stands_in: bool = False

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """Return (N, ...), the rows of (B, J, ...) that are there; a view where all are."""
        flat = values.flatten(0, 1)
        if len(self.sample) == len(flat):
            return flat
        return flat.index_select(0, self.sample * values.shape[1] + self.modality)

    def scatter(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (B, J, ...) with the rows (N, ...) in their places and zeros elsewhere; a view where all are there."""
        size = self.present.numel()
        if len(rows) != size:
            # index_copy_ rather than a scattered addition, whose order on a GPU changes from run to run.
            index = self.sample * self.present.shape[1] + self.modality
            rows = rows.new_zeros(size, *rows.shape[1:]).index_copy_(0, index, rows)
        return rows.unflatten(0, self.present.shape)


# The number of pairs depends on data, which a compiled graph cannot hold: the graph ends here and begins anew.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def find_pairs(present: torch.Tensor, device: torch.device) -> Pairs:
    """Return the pairs of ``present`` (B, J), on ``device``.

    How many there are decides the size of the batch and is needed on the host: a ``present`` that lies on the CPU saves
    waiting for the GPU. Where nothing at all is present, one pair stands in so that the backbone can run; it has no
    part in any fusion.
    """
    sample, modality = present.cpu().nonzero(as_tuple=True)
    nothing = len(sample) == 0
    if nothing:
        sample, modality = torch.zeros(2, 1, dtype=torch.int64)
    on_device = [index.to(device, non_blocking=True) for index in (present, sample, modality)]
    return Pairs(on_device[0], on_device[1], on_device[2], stands_in=nothing)


class Branches(NamedTuple):
    """What the parallel network computes for each present modality by itself.

    Attributes:
        logits: (N, K, *spatial), or the list of them with deep supervision.
        encoder: per level (N, C_k, *spatial_k).
        latents: (B, J, C, *spatial), the channel encoder's output.
        pairs: which sample and modality each of the N rows belongs to.
    """

    logits: Logits
    encoder: list[torch.Tensor]
    latents: torch.Tensor
    pairs: Pairs

    def detached(self) -> Branches:
        """Return the same values, in float32 or wider, as leaves of new graphs; ``latents`` keeps its graph."""

        def leaf(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32)).requires_grad_()

        return self._replace(logits=map_logits(leaf, self.logits), encoder=[leaf(level) for level in self.encoder])

    def outputs(self) -> list[torch.Tensor]:
        """Return what ``detached`` cuts: the logits, full resolution first, and the encoder's levels."""
        logits = [self.logits] if isinstance(self.logits, torch.Tensor) else self.logits
        return [*logits, *self.encoder]


class SubsetOutput(NamedTuple):
    """The parallel network's output, had only ``subset`` been there.

    Attributes:
        subset: channels.
        present: (B, J) bool, what each sample has of the subset; a sample that has none of it keeps all it has, so
            that every row of the logits means something.
        logits: (B, K, *spatial), or the list of them with deep supervision.
        encoder: per level (B, C_k, *spatial_k); empty unless asked for.
    """

    subset: Subset
    present: torch.Tensor
    logits: Logits
    encoder: list[torch.Tensor]


def fuse_subsets(
    branches: Branches, subsets: Sequence[Subset], *, return_features: bool = False
) -> Iterator[SubsetOutput]:
    """Yield the fused output of each subset in turn, keeping none of them.

    Args:
        branches: from the parallel network fused at its logits.
        subsets: channels each, as ``modalities.all_subsets`` lists them.
        return_features: also fuse the encoder's levels.

    Raises:
        ValueError: a subset is empty or holds a channel that is not one of the J modalities.
    """
    pairs = branches.pairs
    num_modalities = pairs.present.shape[1]
    members = torch.zeros(len(subsets), num_modalities, dtype=torch.bool)
    for row, subset in zip(members, subsets, strict=True):
        if not subset or min(subset) < 0 or max(subset) >= num_modalities:
            raise ValueError(f"A subset holds one or more of the channels 0..{num_modalities - 1}, got {subset}.")
        row[list(subset)] = True
    members = members.to(pairs.present.device, non_blocking=True)
    for row, subset in zip(members, subsets, strict=True):
        kept = pairs.present & row
        kept = torch.where(kept.any(1, keepdim=True), kept, pairs.present)
        yield _fuse_subset(branches, subset, kept, return_features=return_features)


def _fuse_subset(branches: Branches, subset: Subset, kept: torch.Tensor, *, return_features: bool) -> SubsetOutput:
    def fuse(rows: torch.Tensor) -> torch.Tensor:
        return mean_fusion(branches.pairs.scatter(rows), kept)

    levels = branches.encoder if return_features else []
    return SubsetOutput(subset, kept, map_logits(fuse, branches.logits), [fuse(level) for level in levels])
