"""Fusion of a sample's modalities into one tensor, to which absent modalities contribute nothing.

The parallel network fuses its logits by their mean, networks of modality encoders each of their levels by one of these
modules. Mean and attention return a single present modality unchanged, and zeros if no modality is present. The others
end in a pointwise convolution, which starts as the mean over all J modalities (or, of slim encoders, as their
concatenation); an initialisation of the whole network afterwards would undo that.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from nnunet_missingmod.absence import over_voxels
from nnunet_missingmod.network_choices import FEATURE_FUSIONS
from nnunet_missingmod.networks.backbone import ConvOp


def mean_fusion(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the mean over the present modalities, sum_j present_j * values_j / max(sum_j present_j, 1).

    Args:
        values: (B, J, C, *spatial); the values of absent modalities are not used.
        present: (B, J) bool on the same device.

    Returns:
        (B, C, *spatial).
    """
    return _mean_of_filled(torch.where(over_voxels(present, values), values, 0.0), present)


class MeanFusion(nn.Module):
    """``mean_fusion`` as a module; it has no parameters."""

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Fuse (B, J, C, *spatial) into (B, C, *spatial)."""
        return mean_fusion(values, present)

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        return 0


class AttentionFusion(nn.Module):
    """Attention over the present modalities at each voxel, plus a learned comparison of the modalities.

    At each voxel, with the softmax over the present modalities and m the mean of their h_j::

        fused = sum_j softmax_j(score . h_j) h_j  +  sum_j V_j (h_j - m)

    The second sum adds what a weighted mean cannot express: each modality has its own V_j, so it can form differences
    such as T1ce minus T1. It leaves out absent modalities, and is zero if a single modality is present. ``score`` and
    ``V`` start at zero, so this starts as ``mean_fusion``; an initialisation of the whole network afterwards would undo
    that, so initialise the backbone before it is wrapped.

    Args:
        channels: C.
        num_modalities: J.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``, the same as the backbone's.
    """

    def __init__(self, channels: int, num_modalities: int, conv_op: ConvOp) -> None:
        super().__init__()
        self.num_modalities = num_modalities
        self.channels = channels
        # No bias: it would be the same for all modalities and cancel in the softmax.
        self.score = conv_op(channels, 1, 1, bias=False)
        self.compare = conv_op(num_modalities * channels, channels, 1, bias=False)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.compare.weight)

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Fuse (B, J, C, *spatial) into (B, C, *spatial); ``present`` is (B, J) bool on the same device."""
        is_present = over_voxels(present, values)
        values = torch.where(is_present, values, 0.0)
        scores = self.score(values.flatten(0, 1)).unflatten(0, present.shape)  # (B, J, 1, *spatial)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        # A finite minimum rather than -inf: a sample without any modality then gets zeros instead of NaN.
        scores = scores.masked_fill(~is_present, torch.finfo(scores.dtype).min)
        attended = (scores.softmax(1).to(values.dtype) * values).sum(1)
        deviation = torch.where(is_present, values - _mean_of_filled(values, present).unsqueeze(1), 0.0)
        return attended + self.compare(deviation.flatten(1, 2)).to(values.dtype)

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        return self.num_modalities + self.channels


class ConcatenateFusion(nn.Module):
    """The present modalities side by side, zeros for the others, then a pointwise convolution to C channels::

        fused = W concat_j(present_j * h_j)

    Slim encoders whose widths add up to C need no W: their concatenation has the channels that the decoder expects.

    Source: Zhang et al., mmFormer (2022); without W, Missing as Masking (M3FeCon, 2024).

    Args:
        channels: c of each modality's features.
        num_modalities: J.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``, the same as the backbone's.
        out_channels: C.
    """

    def __init__(self, channels: int, num_modalities: int, conv_op: ConvOp, out_channels: int) -> None:
        super().__init__()
        self.joins = channels * num_modalities == out_channels
        self.reduce = None if self.joins else _reduction(channels, num_modalities, conv_op, out_channels)
        self.out_channels = out_channels

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Fuse (B, J, c, *spatial) into (B, C, *spatial); ``present`` is (B, J) bool on the same device."""
        joined = torch.where(over_voxels(present, values), values, 0.0).flatten(1, 2)
        fused: torch.Tensor = joined if self.reduce is None else self.reduce(joined)
        return fused

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        return 0 if self.joins else self.out_channels


class MomentsFusion(nn.Module):
    """Mean and variance over the present modalities, then a pointwise convolution from 2 c to C channels::

        m = mean_{j present} h_j,    v = mean_{j present} (h_j - m)^2,    fused = W concat(m, v)

    The variance is that of the population, so that it is 0 for a single modality. Both are computed in float32.

    Source: Havaei et al., HeMIS (2016), section 2; with the population's variance as Dorent et al., U-HVED (2019).
    The convolution to the decoder's width is ours: there the decoder takes 2 c channels.

    Args:
        channels, num_modalities, conv_op, out_channels: as of `ConcatenateFusion`.
    """

    def __init__(self, channels: int, num_modalities: int, conv_op: ConvOp, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.reduce = conv_op(2 * channels, out_channels, 1, bias=False)
        with torch.no_grad():
            self.reduce.weight.zero_().flatten(1)[:, :channels] = _selection(channels, out_channels)

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Fuse (B, J, c, *spatial) into (B, C, *spatial); ``present`` is (B, J) bool on the same device."""
        wide = torch.where(over_voxels(present, values), values, 0.0).to(torch.promote_types(values.dtype, torch.float))
        mean = _mean_of_filled(wide, present)
        deviation = torch.where(over_voxels(present, values), wide - mean.unsqueeze(1), 0.0)
        variance = _mean_of_filled(deviation.square(), present)
        fused: torch.Tensor = self.reduce(torch.cat([mean, variance], dim=1).to(self.reduce.weight.dtype))
        return fused.to(values.dtype)

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        return self.out_channels


class GatedFusion(nn.Module):
    """Each present modality weighed at each voxel by a gate that sees all of them, then a pointwise convolution::

        g = sigmoid(norm(G * concat_j h_j))  (one map a modality),    fused = W concat_j(g_j h_j)

    with h_j = 0 for absent modalities and instance normalisation.

    Source: Chen et al., PMKL (2021), the teacher's fusion.

    Args:
        channels, num_modalities, conv_op, out_channels: as of `ConcatenateFusion`.
    """

    def __init__(self, channels: int, num_modalities: int, conv_op: ConvOp, out_channels: int) -> None:
        super().__init__()
        self.num_modalities, self.out_channels = num_modalities, out_channels
        # No bias: the normalisation would remove it.
        self.gate = conv_op(num_modalities * channels, num_modalities, 3, padding="same", bias=False)
        self.reduce = _reduction(channels, num_modalities, conv_op, out_channels)

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Fuse (B, J, c, *spatial) into (B, C, *spatial); ``present`` is (B, J) bool on the same device."""
        values = torch.where(over_voxels(present, values), values, 0.0)
        maps = self.gate(values.flatten(1, 2))
        if maps[0, 0].numel() > 1:  # a bottleneck of one voxel has no spread to divide by
            maps = functional.instance_norm(maps)
        gates = maps.sigmoid().unsqueeze(2)  # (B, J, 1, *spatial)
        fused: torch.Tensor = self.reduce((gates * values).flatten(1, 2))
        return fused

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        return self.num_modalities + self.out_channels


def _mean_of_filled(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the mean over the present modalities of values (B, J, C, *spatial) that are zero for absent ones."""
    total = values.sum(1)
    count = present.sum(1).clamp(min=1).to(values.dtype)
    return total / count.reshape(-1, *[1] * (total.ndim - 1))


def _selection(channels: int, out_channels: int) -> torch.Tensor:
    """Return (C, c) with a one in each row: output i is channel i, and from the first again where there are fewer."""
    return torch.eye(channels)[torch.arange(out_channels) % channels]


def _reduction(channels: int, num_modalities: int, conv_op: ConvOp, out_channels: int) -> nn.Module:
    """Return a pointwise convolution of J modalities' channels side by side, without bias.

    It starts as their mean, or where their channels are fewer than C each and as many together, as a selection.
    """
    together = channels * num_modalities
    reduction = conv_op(together, out_channels, 1, bias=False)
    with torch.no_grad():
        if channels < out_channels <= together:
            start = _selection(together, out_channels)
        else:
            start = _selection(channels, out_channels).repeat(1, num_modalities) / num_modalities
        reduction.weight.copy_(start.reshape(reduction.weight.shape))
    return reduction


_REDUCING: dict[str, Callable[[int, int, ConvOp, int], nn.Module]] = {
    "concatenate": ConcatenateFusion,
    "moments": MomentsFusion,
    "gated": GatedFusion,
}


def build_fusion(
    name: str, channels: int, num_modalities: int, conv_op: ConvOp, *, out_channels: int | None = None
) -> nn.Module:
    """Return the fusion of one encoder level.

    Args:
        name: one of ``network_choices.FEATURE_FUSIONS``.
        channels: c of a modality's features.
        num_modalities: J.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``, as the backbone's.
        out_channels: C that the decoder expects; by default c.

    Raises:
        ValueError: there is no fusion of this name, or it leaves c channels and C are expected.
    """
    out_channels = out_channels or channels
    if name in _REDUCING:
        return _REDUCING[name](channels, num_modalities, conv_op, out_channels)
    if name not in ("mean", "attention"):
        raise ValueError(f"feature_fusion must be one of {', '.join(FEATURE_FUSIONS)}, got {name!r}.")
    if channels != out_channels:
        raise ValueError(f"The fusion {name!r} leaves {channels} channels and the decoder expects {out_channels}.")
    return MeanFusion() if name == "mean" else AttentionFusion(channels, num_modalities, conv_op)
