"""Distillation of how alike each voxel is to the classes' mean features.

Source: Wang et al., Prototype Knowledge Distillation for Medical Segmentation with Missing Modality (ProtoKD), ICASSP
2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.reduction import autocast_off, weighted_mean, zero_left_out_samples
from nnunet_missingmod.losses.term import Setting, Step, StepTerm


def class_masks(target: Tensor, num_outputs: int, head: Head) -> tuple[Tensor, Tensor]:
    """Return masks (B, Q, voxels) of what has a prototype, and which voxels count, (B, 1, voxels); both 0 or 1.

    Q is K for classes; a region has two, of what is inside and what is outside of it.
    """
    labels, valid = head.labels(target)
    counts = torch.ones_like(target[:, :1]) if valid is None else valid
    if head.kind == "softmax":
        index = torch.where(counts > 0, labels, 0)[:, 0].long()
        masks = functional.one_hot(index, num_outputs).movedim(-1, 1)
    else:
        inside = labels > 0
        masks = torch.cat([inside, ~inside], dim=1)
    counted = counts.flatten(2).float()
    return masks.flatten(2).float() * counted, counted


def similarity_maps(features: Tensor, masks: Tensor) -> Tensor:
    """Return the cosine of each voxel's features and each mask's mean feature, (B, Q, voxels)::

        pi_q = mean of F_v over v in q,    M_qv = cos(F_v, pi_q)

    Args:
        features: (B, C, voxels).
        masks: (B, Q, voxels), 0 or 1.
    """
    sizes = masks.sum(2, keepdim=True).clamp(min=1)
    prototypes = masks @ features.transpose(1, 2) / sizes  # (B, Q, C)
    maps: Tensor = functional.normalize(prototypes, dim=2) @ functional.normalize(features, dim=1)
    return maps


def prototype_loss(
    features: Tensor, teacher_features: Tensor, target: Tensor, *, num_outputs: int, head: Head, counts: Tensor
) -> Tensor:
    """Return the mean squared difference of student's and teacher's maps, over the classes that a sample has::

        L = mean over samples that count, classes in them, voxels of (M^s_qv - M^t_qv)^2

    Args:
        features, teacher_features: (B, C, *spatial) of equal C; the teacher's get no gradient.
        target: as nnU-Net's loss takes it, of the same size; ignored voxels do not count.
        num_outputs: K.
        head: the meaning of the logits.
        counts: (B,) bool, the samples that the teacher teaches.
    """
    with autocast_off(features):
        masks, counted = class_masks(target, num_outputs, head)
        taught = zero_left_out_samples(teacher_features, counts)
        ours, theirs = (similarity_maps(each.float().flatten(2), masks) for each in (features, taught))
        has = masks.any(2, keepdim=True) & counts.reshape(-1, 1, 1)
        return weighted_mean((ours - theirs).square(), has * counted)


class PrototypeTerm(nn.Module, StepTerm):
    """`prototype_loss` of the decoders' last features."""

    uses_teacher_logits = True
    uses_decoded = True

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> PrototypeTerm:
        """Return the term; it has no settings."""
        return cls()

    def of_step(self, step: Step) -> Tensor:
        """Return the loss of the samples that the teacher teaches."""
        assert step.teacher is not None
        assert step.teacher.decoded is not None
        assert step.decoded is not None
        return prototype_loss(
            step.decoded,
            step.teacher.decoded,
            step.target,
            num_outputs=step.logits.shape[1],
            head=step.head,
            counts=step.teacher.counts,
        )
