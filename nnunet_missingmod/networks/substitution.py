"""Substituting first stage: each modality offers features for itself and for every other one that may be missing.

Source: Yang et al., DeMoSeg, BIBM 2024: feature decoupling, and its substitution of missing modalities by a fixed list.
The list of BraTS reproduces the fifteen cases of the released code; learned shares are ours, for any modalities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import nn

from nnunet_missingmod.absence import over_voxels
from nnunet_missingmod.networks.backbone import ConvOp, count_outputs


class SubstitutingEncoder(nn.Module):
    """Images (B, J, *spatial) to slots (B, J, w, *spatial), in the place of a channel encoder::

        offer_{m->k} = w channels of the convolution of modality m, for each k
        slot_k = offer_{k->k} if k is present, else sum_{m present} a_km offer_{m->k}

    The shares a_k are a softmax over the present modalities of row k of a table that starts at zero; or, with an order
    for each k, 1 for the first present modality in it and 0 for the others.

    Args:
        num_modalities: J.
        width: w.
        kernel_size: odd, per axis or one for all.
        conv_op: ``nn.Conv3d`` or ``nn.Conv2d``, the same as the backbone's.
        order: for each modality the others, the first choice first; None learns the shares.

    Raises:
        ValueError: an order does not name each other modality once.
    """

    kind = "substituting"
    absent_fill = "zero"

    def __init__(
        self,
        num_modalities: int,
        *,
        width: int,
        kernel_size: int | Sequence[int] = 3,
        conv_op: ConvOp = nn.Conv3d,
        order: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.num_modalities, self.out_channels = num_modalities, width
        kernel: Any = kernel_size if isinstance(kernel_size, int) else tuple(int(size) for size in kernel_size)
        self.conv = conv_op(num_modalities, num_modalities**2 * width, kernel, padding="same", groups=num_modalities)
        self.shares = nn.Parameter(torch.zeros(num_modalities, num_modalities)) if order is None else None
        self.replaced_outputs = 0
        self.ranks: torch.Tensor | None
        if order is None:
            self.register_buffer("ranks", None)
        else:
            self.register_buffer("ranks", _ranks(order, num_modalities))

    def offers(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return (B, J, J, w, *spatial): at [:, m, k] what modality m offers for k.

        Args:
            images: (B, J, *spatial); the values of absent channels are not used.
            present: (B, J) bool on the same device.
        """
        images = torch.where(over_voxels(present, images), images, 0.0)
        size = (self.num_modalities, self.num_modalities, self.out_channels)
        made: torch.Tensor = self.conv(images)
        return made.unflatten(1, size)

    def choose(self, offers: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return the slots (B, J, w, *spatial) that the present modalities' offers make."""
        weights = self.weights(present).to(offers.dtype)  # (B, m, k)
        offers = torch.where(over_voxels(present, offers), offers, 0.0)
        return torch.einsum("bmk,bmk...->bk...", weights, offers)

    def weights(self, present: torch.Tensor) -> torch.Tensor:
        """Return (B, J, J): at [:, m, k] the share of modality m in slot k; zeros where nothing is present."""
        from_others = present.unsqueeze(2).expand(-1, -1, self.num_modalities)  # (B, m, k)
        if self.ranks is None:
            assert self.shares is not None
            scores = self.shares.T.expand_as(from_others).masked_fill(~from_others, torch.finfo(torch.float32).min)
            shares = scores.softmax(1)
        else:
            ranks = self.ranks.expand_as(from_others).masked_fill(~from_others, self.num_modalities)
            shares = torch.zeros_like(ranks, dtype=torch.float32).scatter(1, ranks.argmin(1, keepdim=True), 1.0)
        own = torch.eye(self.num_modalities, device=present.device)
        shares = torch.where(present.unsqueeze(1), own, shares)  # slot k is its own modality's, where that is present
        return torch.where(from_others, shares, 0.0)

    def forward(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return the slots; the arguments are those of ``offers``."""
        return self.choose(self.offers(images, present), present)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs for one sample, less those of a convolution that it replaces."""
        outputs = self.num_modalities**2 * self.out_channels - self.replaced_outputs
        return count_outputs(1, input_size) * outputs


def _ranks(order: Sequence[Sequence[int]], num_modalities: int) -> torch.Tensor:
    """Return (m, k): the place of m in the order of k; J for k itself, which no one asks."""
    ranks = torch.full((num_modalities, num_modalities), num_modalities)
    if len(order) != num_modalities:
        raise ValueError(f"There must be an order for each of {num_modalities} modalities, got {len(order)}.")
    for slot, others in enumerate(order):
        if sorted([*others, slot]) != list(range(num_modalities)):
            raise ValueError(f"The order of modality {slot} must name each other one of {num_modalities} once.")
        for rank, other in enumerate(others):
            ranks[other, slot] = rank
    return ranks


def slot_width(encoder: Any, num_modalities: int) -> int:
    """Return w: a J-th of the channels of the backbone's first convolution, rounded up."""
    return -(-_first_layer(encoder).conv.out_channels // num_modalities)


def replace_first_convolution(encoder: Any, substituting: SubstitutingEncoder, num_extra: int) -> None:
    """Let the slots take the place of what the backbone's first convolution makes.

    If the slots have its number of channels, nothing stands between them and its normalisation. If they have more, or
    channels without a modality follow, a pointwise convolution does, which starts as a selection of the slots.

    Args:
        encoder: the backbone's.
        substituting: makes the slots.
        num_extra: E, channels after the slots (a previous stage's segmentation).
    """
    layer = _first_layer(encoder)
    replaced, inputs = layer.conv, substituting.num_modalities * substituting.out_channels + num_extra
    new: nn.Module = nn.Identity()
    if inputs != replaced.out_channels:
        pointwise = type(replaced)(inputs, replaced.out_channels, 1, bias=replaced.bias is not None)
        with torch.no_grad():
            of_slots = pointwise.weight.flatten(1)[:, : inputs - num_extra]
            of_slots.zero_().fill_diagonal_(1)
            if pointwise.bias is not None:
                pointwise.bias.zero_()
        new = pointwise
    else:
        substituting.replaced_outputs = replaced.out_channels
    layer.conv = new
    layer.all_modules[0] = new


def _first_layer(encoder: Any) -> Any:
    return next(module for module in encoder.modules() if isinstance(module, ConvDropoutNormReLU))
