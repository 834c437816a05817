"""The segmentation loss of Robust Divergence Learning: soft Dice, pooled over the batch, without cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnunet_missingmod.losses.posteriors import Head, class_index, log_posterior, voxel_weights
from nnunet_missingmod.losses.reduction import autocast_off

_SMOOTH = 1.0


def pooled_dice_loss(logits: Tensor, target: Tensor, head: Head) -> Tensor:
    """Return 1 - mean_c (2 sum(p_c y_c) + 1) / (sum(p_c) + sum(y_c) + 1), the sums over all voxels of the batch.

    Args:
        logits: (B, K, *spatial).
        target: as nnU-Net's loss takes it; see ``posteriors.Head``. Voxels with the ignore label do not count.
        head: classes, of which the background (class 0) is left out of the mean, or regions.

    Returns:
        A scalar from 0 (perfect) to 1.
    """
    labels, valid = head.labels(target)
    with autocast_off(logits):
        weights = voxel_weights(logits, valid, None)
        index = class_index(labels, logits, head.kind, weights)
        posterior = log_posterior(logits, head.kind).exp()
        if head.kind == "regions":
            posterior, truth = posterior[:, 0], 1.0 - index.to(posterior.dtype)  # of the pair, being inside: index 0
        else:
            posterior = posterior[:, 1:]
            truth = torch.stack([(index == label).to(posterior.dtype) for label in range(1, logits.shape[1])], dim=1)
        if weights is not None:
            posterior, truth = posterior * weights, truth * weights
        over = [axis for axis in range(posterior.ndim) if axis != 1]
        overlap = (posterior * truth).sum(over)
        dice = (2 * overlap + _SMOOTH) / (posterior.sum(over) + truth.sum(over) + _SMOOTH)
        return 1 - dice.mean()


class PooledDiceLoss(nn.Module):
    """``pooled_dice_loss`` as a module, in the place of nnU-Net's loss without deep supervision."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits and nnU-Net's target."""
        return pooled_dice_loss(logits, target, self.head)
