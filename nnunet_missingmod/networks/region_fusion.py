"""Region-aware fusion: weights of the modalities for each region of the image, which the fusion finds itself.

Source: Ding et al., RFNet: Region-Aware Fusion Network for Incomplete Multi-modal Brain Tumor Segmentation, ICCV 2021.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from nnunet_missingmod.absence import over_voxels
from nnunet_missingmod.networks.backbone import ConvOp
from nnunet_missingmod.networks.branches import WIDENED_AT_ONCE

_MAP_WIDTH, _HIDDEN = 16, 128
_SMALLEST = 1e-7


class _Layer(nn.Module):
    """Convolution, instance normalisation, leaky ReLU, without bias or affine parameters: zeros stay zeros."""

    def __init__(self, conv_op: ConvOp, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = conv_op(inputs, outputs, kernel, padding="same", bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (B, inputs, *spatial)."""
        y: torch.Tensor = self.conv(x)
        if y[0, 0].numel() > 1:  # a bottleneck of one voxel has no spread to divide by
            y = functional.instance_norm(y)
        return functional.leaky_relu(y, 0.01)


def _three(conv_op: ConvOp, inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        _Layer(conv_op, inputs, middle, 1), _Layer(conv_op, middle, middle, 3), _Layer(conv_op, middle, outputs, 1)
    )


def _sums_of_regions(q: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sum_v q_kv, (B, R, 1), and sum_v q_kv f_iv, (B, R, I), for q (B, R, V) and f (B, I, V).

    They are made in float32 or wider: over a patch's voxels they are beyond the largest number of float16. Halves are
    widened a piece at a time.
    """
    wide = torch.promote_types(values.dtype, torch.float32)
    pieces = 1 if values.dtype == wide else -(-values[0].numel() // WIDENED_AT_ONCE)
    chunks = list(zip(q.chunk(pieces, dim=2), values.chunk(pieces, dim=2), strict=True))
    with torch.autocast(device_type=values.device.type, enabled=False):
        sums = [weights.to(wide) @ piece.to(wide).transpose(1, 2) for weights, piece in chunks]
    return q.sum(2, keepdim=True, dtype=wide), torch.stack(sums).sum(0)


class RegionFused(NamedTuple):
    """What region-aware fusion returns: ``fused`` (B, C, *spatial), and the maps' logits ``maps`` (B, K, *spatial)."""

    fused: torch.Tensor
    maps: torch.Tensor


class RegionAwareFusion(nn.Module):
    """Fuse by regions that are found from all modalities and from what the decoder has made so far.

    With f_j = 0 for absent modalities and d the decoder's features, upsampled to this level (none at the bottleneck)::

        maps = 1x1(layer([d, phi(concat_j f_j)])),   q_k = sigmoid(maps_k) for k < K,  q_K = 1 - max_k q_k
        u_k  = concat_j mean(q_k f_j) / mean(q_k), mean(q_k);   w_k = sigmoid(W2_k lrelu(W1_k u_k)) in (0, 1)^J
        F_k  = sum_j w_kj q_k f_j
        s    = concat(phi1(concat_k F_k), phi2(concat_j f_j))

    No gradient goes through q: the maps learn from the labels (`losses.region_maps`). phi, phi1 and phi2 are three
    layers each.

    Source: RFNet, section 3.2. There q is a softmax over classes; sigmoids and the map of what is in none of them serve
    overlapping regions too.

    Args:
        channels: c of a modality's features.
        num_modalities: J.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``.
        out_channels: C.
        num_outputs: K, classes or regions.
        decoded_channels: of d, 0 at the bottleneck.
    """

    def __init__(
        self,
        channels: int,
        num_modalities: int,
        conv_op: ConvOp,
        out_channels: int,
        *,
        num_outputs: int,
        decoded_channels: int,
    ) -> None:
        super().__init__()
        together, half = channels * num_modalities, out_channels // 2
        quarter = max(1, out_channels // 4)
        self.num_outputs, self.out_channels = num_outputs, out_channels
        self.phi = _three(conv_op, together, quarter, out_channels)
        self.before_maps = _Layer(conv_op, decoded_channels + out_channels, _MAP_WIDTH, 1)
        self.maps = conv_op(_MAP_WIDTH, num_outputs, 1)
        regions = num_outputs + 1
        self.hidden = nn.Parameter(torch.empty(regions, together + 1, _HIDDEN))
        self.weigh = nn.Parameter(torch.empty(regions, _HIDDEN, num_modalities))
        for weights in (self.hidden, self.weigh):
            nn.init.kaiming_uniform_(weights.transpose(1, 2), a=5**0.5)
        self.of_regions = _three(conv_op, regions * channels, out_channels, out_channels - half)
        self.of_modalities = _three(conv_op, together, out_channels, half)

    def forward(self, values: torch.Tensor, present: torch.Tensor, decoded: torch.Tensor | None) -> RegionFused:
        """Fuse (B, J, c, *spatial); ``present`` is (B, J) bool on the same device, ``decoded`` d."""
        values = torch.where(over_voxels(present, values), values, 0.0)
        joined = values.flatten(1, 2)
        found = self.phi(joined)
        maps = self.maps(self.before_maps(found if decoded is None else torch.cat([decoded, found], dim=1)))
        q = maps.detach().sigmoid()
        q = torch.cat([q, 1 - q.amax(1, keepdim=True)], dim=1)  # (B, R, *spatial), R = K + 1
        sizes, sums = _sums_of_regions(q.flatten(2), joined.flatten(2))  # (B, R, 1), (B, R, J * c)
        sizes = sizes / q[0, 0].numel()
        u = torch.cat([sums / q[0, 0].numel() / (sizes + _SMALLEST), sizes], dim=2)
        hidden = functional.leaky_relu(torch.einsum("bri,rih->brh", u, self.hidden.to(u.dtype)), 0.01)
        weights = torch.einsum("brh,rhj->brj", hidden, self.weigh.to(u.dtype)).sigmoid()
        weighed = torch.einsum("brj,bj...->br...", weights, values)  # (B, R, c, *spatial)
        regions = (q.unsqueeze(2) * weighed).flatten(1, 2)
        return RegionFused(torch.cat([self.of_regions(regions), self.of_modalities(joined)], dim=1), maps)

    def outputs_per_voxel(self) -> int:
        """Return the number of convolution outputs per voxel."""
        quarter = max(1, self.out_channels // 4)
        found = 2 * quarter + self.out_channels + _MAP_WIDTH + self.num_outputs
        # Two layers before the last, whose halves add up.
        return found + 2 * 2 * self.out_channels + self.out_channels
