"""Attention between the modalities at the bottleneck of modality encoders, before their fusion.

Every voxel of the deepest level is a token of its modality. What is not kept is no key, so nothing of it reaches the
others. A token has the channels of its level; published systems use 512, which costs parameters and hardly time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from nnunet_missingmod.absence import over_voxels
from nnunet_missingmod.networks.backbone import ConvOp
from nnunet_missingmod.networks.fusion import mean_fusion

_MOST_HEADS = 8
_MLP = 4  # width of the perceptron in relation to the tokens'


class Positions(nn.Module):
    """A learned position (c) for each modality and voxel of the plans' grid; other grids get it by interpolation.

    Args:
        channels: c.
        num_modalities: J.
        grid: the bottleneck's size for the plans' patch.
    """

    def __init__(self, channels: int, num_modalities: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.values = nn.Parameter(0.02 * torch.randn(num_modalities, channels, *grid))

    def forward(self, grid: Sequence[int]) -> torch.Tensor:
        """Return (J, c, *grid)."""
        if tuple(grid) == tuple(self.values.shape[2:]):
            return self.values
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(grid)]
        return functional.interpolate(self.values, size=tuple(grid), mode=mode, align_corners=False)


def _gelu(values: torch.Tensor) -> torch.Tensor:
    return functional.gelu(values)


def _block(channels: int) -> nn.TransformerEncoderLayer:
    heads = math.gcd(channels, _MOST_HEADS)
    # No dropout of tokens: nnU-Net trains without, and the same input gives the same loss. An activation that torch
    # does not know keeps it from its fused layer for prediction, which inductor cannot compile (torch 2.14: other
    # strides than it expects). Torch does not take that layer under autocast either, and on a CPU it is the slower one.
    return nn.TransformerEncoderLayer(
        channels, heads, _MLP * channels, dropout=0.0, activation=_gelu, batch_first=True, norm_first=True
    )


def _tokens(values: torch.Tensor) -> torch.Tensor:
    """Return (B, J * N, c) from (B, J, c, *grid), N voxels."""
    return values.flatten(3).transpose(2, 3).flatten(1, 2)


def _values(tokens: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return (B, J, c, *grid) from (B, J * N, c)."""
    return tokens.unflatten(1, (like.shape[1], -1)).transpose(2, 3).reshape(like.shape)


def _hidden(kept: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return (B, J * N) bool, the tokens that are no keys; a sample that keeps nothing attends to everything."""
    hidden = ~kept & kept.any(1, keepdim=True)
    return hidden.repeat_interleave(math.prod(values.shape[3:]), dim=1)


class TokenBottleneck(nn.Module):
    """A transformer block within each modality, then one over the tokens of all that are kept::

        t_j = intra_j(f_j + p_j),    (t_1, ..., t_J) <- inter((t_1 + p_1, ..., t_J + p_J); keys: tokens of kept j)

    Source: Zhang et al., mmFormer (2022). There absent tokens are zeros that are keys, and the output is not put back
    in its order; the mask is as in Shi et al., M2FTrans (2024).

    Args:
        channels: c.
        num_modalities: J.
        grid: see `Positions`.
    """

    def __init__(self, channels: int, num_modalities: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.positions = Positions(channels, num_modalities, grid)
        self.intra = nn.ModuleList(_block(channels) for _ in range(num_modalities))
        self.inter = _block(channels)

    def forward(self, values: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features (B, J, c, *grid) and the modalities (B, J) that are to be fused, those that were kept.

        Args:
            values: (B, J, c, *grid), finite for every modality.
            kept: (B, J) bool on the same device.
        """
        positions = self.positions(values.shape[3:])
        placed = values + positions
        own = [block(_tokens(placed.narrow(1, index, 1))) for index, block in enumerate(self.intra)]
        tokens = torch.cat(own, dim=1) + _tokens(positions.unsqueeze(0))
        tokens = self.inter(tokens, src_key_padding_mask=_hidden(kept, values))
        return _values(tokens, values), kept


class ReconstructionBottleneck(nn.Module):
    """A transformer block that makes up the features of modalities that are not kept::

        t_j = f_j if j is kept, else m_j;    r = block((t_1 + p_1, ..., t_J + p_J));    fused are f_j if kept, else r_j

    with learned m_j (c). In training the loss compares r_j with f_j where j was dropped.

    Source: Missing as Masking (M3FeCon), MICCAI 2024.

    Args:
        channels: c.
        num_modalities: J.
        grid: see `Positions`.
    """

    def __init__(self, channels: int, num_modalities: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.positions = Positions(channels, num_modalities, grid)
        self.missing = nn.Parameter(0.02 * torch.randn(num_modalities, channels))
        self.block = _block(channels)

    def forward(self, values: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features (B, J, c, *grid), made up where they are not kept, and that all of them are to be fused.

        Args:
            values: (B, J, c, *grid); those that are not kept are not used.
            kept: (B, J) bool on the same device.
        """
        is_kept = over_voxels(kept, values)
        made_up = self.missing.to(values.dtype).reshape(1, *self.missing.shape, *[1] * (values.ndim - 3))
        tokens = _tokens(torch.where(is_kept, values, made_up) + self.positions(values.shape[3:]))
        reconstructed = _values(self.block(tokens), values).to(values.dtype)
        return torch.where(is_kept, values, reconstructed), torch.ones_like(kept)


class SharedSpecificBottleneck(nn.Module):
    """What a shared and a modality's own encoder make of it; the shared ones' mean stands in for missing modalities::

        r_j = h_j + W * [h_j, g_j] if j is kept, else mean_{m kept} h_m

    with h the shared and g the specific encoder's deepest level.

    Source: Wang et al., ShaSpec: Multi-modal Learning with Missing Modality via Shared-Specific Feature Modelling, CVPR
    2023. The released code takes the first present modality's h in the place of the mean.

    Args:
        channels: c of h and of g.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``.
    """

    def __init__(self, channels: int, conv_op: ConvOp) -> None:
        super().__init__()
        self.project = conv_op(2 * channels, channels, 3, padding="same")

    def forward(
        self, shared: torch.Tensor, specific: torch.Tensor, kept: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features (B, J, c, *grid), and that all of them are to be fused.

        Args:
            shared, specific: (B, J, c, *grid); those that are not kept are not used.
            kept: (B, J) bool on the same device.
        """
        is_kept = over_voxels(kept, shared)
        shared, specific = (torch.where(is_kept, values, 0.0) for values in (shared, specific))
        together = torch.cat([shared, specific], dim=2).flatten(0, 1)
        own = shared + self.project(together).reshape(shared.shape)
        stands_in = mean_fusion(shared, kept).unsqueeze(1)
        return torch.where(is_kept, own, stands_in), torch.ones_like(kept)


def build_bottleneck(
    name: str, channels: int, num_modalities: int, grid: Sequence[int]
) -> TokenBottleneck | ReconstructionBottleneck:
    """Return the bottleneck of this name.

    Raises:
        ValueError: there is none.
    """
    if name == "tokens":
        return TokenBottleneck(channels, num_modalities, grid)
    if name == "reconstruction":
        return ReconstructionBottleneck(channels, num_modalities, grid)
    raise ValueError(f"bottleneck must be tokens or reconstruction, got {name!r}.")
