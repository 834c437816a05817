"""Branches: the present (sample, modality) pairs as one batch, and the prediction of every subset made from them.

The fusion of logits is a mean, so one pass of the branches yields the predictions of all 2^J - 1 subsets.
``training.step`` trains on all of them in the memory of one subset; ``inference.all_subsets`` predicts all of them.

Source: Cheng et al., Robust Divergence Learning for Missing-Modality Segmentation (dynamic combination).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch._dynamo import maybe_mark_dynamic

from nnunet_missingmod import absence
from nnunet_missingmod.modalities import Subset
from nnunet_missingmod.networks.backbone import Logits, map_logits
from nnunet_missingmod.networks.fusion import mean_fusion

WIDENED_AT_ONCE = 2**24  # numbers


class Pairs(NamedTuple):
    """The N present (sample, modality) pairs of a batch, sample by sample.

    Attributes:
        present: (B, J) bool.
        sample: (N,) int64.
        modality: (N,) int64.
        is_placeholder: true if no sample has any modality. The single pair then only lets the backbone run.
    """

    present: torch.Tensor
    sample: torch.Tensor
    modality: torch.Tensor
    is_placeholder: bool = False

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """Return the rows (N, ...) of (B, J, ...) that belong to the pairs; a view if all modalities are present."""
        flat = values.flatten(0, 1)
        if not torch.compiler.is_compiling() and len(self.sample) == len(flat):
            return flat
        return flat.index_select(0, self.sample * values.shape[1] + self.modality)

    def scatter(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (B, J, ...) with the rows (N, ...) in their places and zeros elsewhere.

        The result is a view if all modalities are present.
        """
        size = self.present.numel()
        if torch.compiler.is_compiling() or len(rows) != size:
            # index_copy_ is deterministic on a GPU; a scattered addition is not.
            index = self.sample * self.present.shape[1] + self.modality
            rows = rows.new_zeros(size, *rows.shape[1:]).index_copy_(0, index, rows)
        return rows.unflatten(0, self.present.shape)

    def mean(self, rows: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Return the mean over each sample's kept modalities as one matrix product, without the copies of `scatter`::

            mean_b = sum_n W_bn rows_n,    W_bn = [sample_n = b] kept_b,modality_n / max(sum_j kept_bj, 1)

        It is `mean_fusion` of what `scatter` returns, up to rounding.

        Args:
            rows: (N, ...), all of them finite.
            kept: (B, J) bool, some of the present modalities.

        Returns:
            (B, ...), in float32 or wider. Rows of half precision are widened a piece at a time where no gradient is
            wanted of them.
        """
        flat = rows.flatten(1)
        wide = torch.promote_types(rows.dtype, torch.float32)
        weights = self.weights(kept, wide)
        pieces = 1 if flat.dtype == wide or flat.requires_grad else -(-flat.numel() // WIDENED_AT_ONCE)
        with torch.autocast(device_type=rows.device.type, enabled=False):
            means = [weights @ piece.to(wide) for piece in flat.chunk(pieces, dim=1)]
        return (means[0] if pieces == 1 else torch.cat(means, dim=1)).unflatten(1, rows.shape[1:])

    def weights(self, kept: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return W (B, N) of `mean`; its transpose makes gradients of rows from those of means."""
        samples = torch.arange(len(kept), device=self.sample.device)
        used = (self.sample == samples[:, None]) & kept.index_select(1, self.modality)
        return used.to(dtype) / kept.sum(1, keepdim=True).clamp(min=1).to(dtype)  # (B, N)


# The number of pairs depends on the data, which a compiled graph cannot express. So the graph ends before this function
# and a new one starts after it, for any number of them from 2 on and for 1.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def find_pairs(present: torch.Tensor, device: torch.device) -> Pairs:
    """Return the pairs of ``present`` (B, J), on ``device``.

    The CPU needs the number of pairs, because it is the batch size of the backbone. A ``present`` on the CPU therefore
    saves waiting for the GPU. If no sample has any modality, the result is one placeholder pair, so that the backbone
    can run; no fusion uses it.
    """
    sample, modality = present.cpu().nonzero(as_tuple=True)
    nothing = len(sample) == 0
    if nothing:
        sample, modality = torch.zeros(2, 1, dtype=torch.int64)
    on_device = [index.to(device, non_blocking=True) for index in (present, sample, modality)]
    for index in on_device[1:]:
        maybe_mark_dynamic(index, 0)
    return Pairs(on_device[0], on_device[1], on_device[2], is_placeholder=nothing)


class Branches(NamedTuple):
    """What the parallel network computes for each present modality by itself.

    Attributes:
        logits: (N, K, *spatial), or the list of them with deep supervision.
        encoder: per level (N, C_k, *spatial_k).
        latents: (B, J, C, *spatial), the channel encoder's output.
        pairs: the sample and the modality of each of the N rows.
    """

    logits: Logits
    encoder: list[torch.Tensor]
    latents: torch.Tensor
    pairs: Pairs

    def detached(self) -> Branches:
        """Return the same values outside of any autograd graph; ``latents`` keeps its own."""
        return self._replace(
            logits=map_logits(torch.Tensor.detach, self.logits), encoder=[level.detach() for level in self.encoder]
        )

    def outputs(self) -> list[torch.Tensor]:
        """Return what ``detached`` detaches: the logits, full resolution first, then the encoder's levels."""
        return _outputs(self.logits, self.encoder)


class SubsetOutput(NamedTuple):
    """The output that the parallel network gives if only the modalities of ``subset`` are present.

    Attributes:
        subset: channels.
        present: (B, J) bool, the modalities used for each sample, as ``absence.restrict`` chooses them. A sample that
            has none of the subset uses all that it has, so its logits are meaningful too.
        logits: (B, K, *spatial), or the list of them with deep supervision.
        encoder: per level (B, C_k, *spatial_k); empty unless requested.
    """

    subset: Subset
    present: torch.Tensor
    logits: Logits
    encoder: list[torch.Tensor]

    def outputs(self) -> list[torch.Tensor]:
        """Return the logits, full resolution first, then the encoder's levels: what is made of `Branches.outputs`."""
        return _outputs(self.logits, self.encoder)


def _outputs(logits: Logits, encoder: list[torch.Tensor]) -> list[torch.Tensor]:
    return [*([logits] if isinstance(logits, torch.Tensor) else logits), *encoder]


def fuse_subsets(
    branches: Branches, subsets: Sequence[Subset], *, return_features: bool = False
) -> Iterator[SubsetOutput]:
    """Yield the fused output of one subset after another; only one is in memory at a time.

    Args:
        branches: from a parallel network that is fused at its logits. In evaluation, a branch that is not finite spoils
            only the subsets that it belongs to; in training, where their mean is spoilt anyway, all of them.
        subsets: each a tuple of channels, as ``modalities.all_subsets`` lists them.
        return_features: also fuse the encoder's levels.

    Raises:
        ValueError: a subset is empty, or has a channel that is not one of 0..J-1.
    """
    pairs = branches.pairs
    num_modalities = pairs.present.shape[1]
    for subset in subsets:
        if not subset or min(subset) < 0 or max(subset) >= num_modalities:
            raise ValueError(f"A subset holds one or more of the channels 0..{num_modalities - 1}, got {subset}.")
    members = absence.present_of(subsets, num_modalities).to(pairs.present.device, non_blocking=True)
    levels = branches.encoder if return_features else []
    outputs = _outputs(branches.logits, levels)
    multiplies = torch.is_grad_enabled() or all(bool(rows.isfinite().all()) for rows in outputs)
    for row, subset in zip(members, subsets, strict=True):
        kept = absence.restrict(pairs.present, row)
        fuse = partial(_mean, pairs=pairs, kept=kept, multiplies=multiplies)
        yield SubsetOutput(subset, kept, map_logits(fuse, branches.logits), [fuse(level) for level in levels])


def _mean(rows: torch.Tensor, *, pairs: Pairs, kept: torch.Tensor, multiplies: bool) -> torch.Tensor:
    return pairs.mean(rows, kept) if multiplies else mean_fusion(pairs.scatter(rows), kept)
