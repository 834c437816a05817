"""Labels teach the regions that region-aware fusion finds (see ``networks.region_fusion``).

Source: Ding et al., RFNet, ICCV 2021, section 3.2, where the maps learn by a weighted cross-entropy and Dice at every
level, all levels with weight 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_missingmod.losses.pooled_dice import pooled_dice_loss
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.reduction import autocast_off, weighted_mean
from nnunet_missingmod.losses.resolution import at_resolution
from nnunet_missingmod.losses.term import Setting, Step, StepTerm


def region_maps_loss(maps: Sequence[Tensor], targets: Sequence[Tensor], head: Head) -> Tensor:
    """Return the sum over levels of the maps' binary cross-entropy and soft Dice, each map by itself::

        L = sum_l [mean_{k, voxels} BCE(q_lk, y_lk) + 1 - mean_k Dice(q_lk, y_lk)],    q = sigmoid(maps)

    Args:
        maps: per level (B, K, *spatial_l).
        targets: as nnU-Net's loss takes them, full resolution first; see ``posteriors.Head``.
        head: the meaning of the network's logits; of classes, each is a map, the background too.
    """
    losses = []
    for level in maps:
        labels, valid = head.labels(at_resolution(targets, level.shape[2:]))
        if head.kind == "softmax":
            counted = labels if valid is None else torch.where(valid, labels, 0)
            labels = functional.one_hot(counted[:, 0].long(), level.shape[1]).movedim(-1, 1)
        with autocast_off(level):
            logits, inside = level.float(), labels.float()
            each = functional.binary_cross_entropy_with_logits(logits, inside, reduction="none")
            weights = torch.ones_like(each[:, :1]) if valid is None else valid
            outside = torch.zeros_like(inside[:, :1]) if valid is None else (~valid).float()
            # 0 ignores nothing: the last channel says what is ignored.
            dice = pooled_dice_loss(logits, torch.cat([inside, outside], dim=1), Head("regions", ignore_label=0))
            losses.append(weighted_mean(each, weights) + dice)
    return torch.stack(losses).sum()


class RegionMapsTerm(nn.Module, StepTerm):
    """`region_maps_loss` of the step's maps."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> RegionMapsTerm:
        """Return the term for the setting's head."""
        return cls(setting.head)

    def of_step(self, step: Step) -> Tensor:
        """Return the loss of all levels' maps."""
        assert step.separately is not None
        return region_maps_loss(step.separately.maps, step.targets, self.head)
