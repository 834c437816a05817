"""Co-training: a second network, which sees all modalities, learns beside the one that predicts.

Sources: Wang et al., ACN (MICCAI 2021); Azad et al., SMU-Net (MIDL 2022). Both networks learn the segmentation, and
from each other; the partner is in the optimiser and not in the weights that predict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.losses.posteriors import Head, log_posterior, voxel_weights
from nnunet_missingmod.losses.reduction import autocast_off, pooled, weighted_mean
from nnunet_missingmod.losses.term import Setting, Step, StepTerm


class PartnerTerm(nn.Module, StepTerm):
    """The segmentation's loss of the partner's outputs.

    Args:
        segmentation: nnU-Net's loss, with deep supervision where the networks have it.
    """

    def __init__(self, segmentation: Callable[..., Tensor]) -> None:
        super().__init__()
        self.segmentation = segmentation

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> PartnerTerm:
        """Return the term with the trainer's loss."""
        assert setting.supervised is not None
        return cls(setting.supervised)

    def of_step(self, step: Step) -> Tensor:
        """Return the partner's loss."""
        assert step.partner is not None
        targets = step.targets if isinstance(step.partner.outputs, list) else step.target
        return self.segmentation(step.partner.outputs, targets)


def consistency_loss(logits: Tensor, other: Tensor, target: Tensor, head: Head) -> Tensor:
    """Return the squared difference of two networks' posteriors, the sum over classes of the mean over voxels::

        L = sum_c mean_v (p_cv - q_cv)^2

    Both networks get gradients.

    Args:
        logits, other: (B, K, *spatial).
        target: as nnU-Net's loss takes it; ignored voxels do not count.
        head: the meaning of the logits; of regions, the sum is over regions.

    Source: ACN, Eq. 3; SMU-Net, Eq. 2.
    """
    _, valid = head.labels(target)
    with autocast_off(logits):
        weights = voxel_weights(logits, valid, None)
        ours, theirs = (log_posterior(each, head.kind).exp() for each in (logits, other))
        if head.kind == "regions":
            ours, theirs = ours[:, 0], theirs[:, 0]
        squared = (ours - theirs).square()
        mean = squared.mean() if weights is None else weighted_mean(squared, weights)
        return mean * squared.shape[1]


class ConsistencyTerm(nn.Module, StepTerm):
    """`consistency_loss` of the network's and the partner's logits."""

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> ConsistencyTerm:
        """Return the term; it has no settings."""
        return cls()

    def of_step(self, step: Step) -> Tensor:
        """Return the loss at full resolution."""
        assert step.partner is not None
        return consistency_loss(step.logits, step.partner.logits, step.target, step.head)


def content_loss(features: Tensor, other: Tensor) -> Tensor:
    """Return the mean squared difference of two networks' deepest features (B, C, *grid); both get gradients.

    Source: SMU-Net, Eq. 4.
    """
    return (features - other).square().mean()


class ContentTerm(nn.Module, StepTerm):
    """`content_loss` of what the two decoders got at the bottleneck."""

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> ContentTerm:
        """Return the term; it has no settings."""
        return cls()

    def of_step(self, step: Step) -> Tensor:
        """Return the loss."""
        assert step.partner is not None
        deepest = step.fused[-1]
        with autocast_off(deepest):
            return content_loss(deepest.float(), step.partner.fused[-1].float())


def gram(features: Tensor) -> Tensor:
    """Return (B, C, C): products of channels, F F^T / (C N) with F (C, N voxels)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


def style_loss(features: Tensor, other: Tensor) -> Tensor:
    """Return the mean over samples of the squared difference of Gram matrices, scaled as in SMU-Net::

        L = sum_{c, d} (G_cd - H_cd)^2 / (4 C^2 N^2)

    As printed it has no effect, because it divides by C and N twice, in the Gram matrix and outside: at nnU-Net's
    widths it is about 1e-12, weighted 2e-16, and its largest gradient below 1e-18, where that of content is 1e-4.

    Args:
        features, other: (B, C, *spatial) of N voxels; both get gradients.

    Source: SMU-Net, Eq. 3.
    """
    channels, voxels = features.shape[1], features[0, 0].numel()
    squared = (gram(features) - gram(other)).square().sum((1, 2))
    return squared.mean() / (4 * channels**2 * voxels**2)


class StyleTerm(nn.Module, StepTerm):
    """`style_loss` of the three deepest levels, pooled to the bottleneck's size, by a convolution of each network.

    Args:
        channels: of the three levels.
        conv_op: ``nn.Conv2d`` or ``nn.Conv3d``.
    """

    def __init__(self, channels: list[int], conv_op: type[nn.Conv2d | nn.Conv3d]) -> None:
        super().__init__()
        self.of_network, self.of_partner = (conv_op(sum(channels), channels[-1], 1) for _ in range(2))

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> StyleTerm:
        """Return the term for the setting's deepest levels."""
        return cls(list(setting.encoder_channels[-3:]), nn.Conv2d if setting.dimensions == 2 else nn.Conv3d)

    def of_step(self, step: Step) -> Tensor:
        """Return the loss."""
        assert step.partner is not None
        with autocast_off(step.fused[-1]):
            ours = self.of_network(_side_by_side(step.fused))
            theirs = self.of_partner(_side_by_side(step.partner.fused))
            return style_loss(ours, theirs)


def _side_by_side(levels: Any) -> Tensor:
    """Return the three deepest levels side by side at the size of the deepest."""
    grid = levels[-1].shape[2:]
    return torch.cat([pooled(level.float(), grid) for level in levels[-3:]], dim=1)
