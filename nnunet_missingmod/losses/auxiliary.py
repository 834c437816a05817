"""Segmentation from each modality alone, by a decoder that all modalities share and prediction does not know.

Sources: Ding et al., RFNet (ICCV 2021) and Zhang et al., mmFormer (MICCAI 2022), which add it for every modality of a
case, dropped ones included. There its loss is a weighted cross-entropy and Dice; here it is nnU-Net's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.losses.reduction import autocast_off
from nnunet_missingmod.losses.resolution import at_resolution
from nnunet_missingmod.losses.term import Setting, Step, StepTerm
from nnunet_missingmod.networks.backbone import Separately


def unimodal_loss(
    logits: Tensor, target: Tensor, encoded: Tensor, *, segmentation: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Return the sum over modalities of the segmentation loss of the samples that have the modality::

        L = sum_j segmentation({logits_bj, target_b : sample b has modality j})

    Args:
        logits: (N, K, *spatial) of the N pairs of sample and modality in ``encoded``, sample by sample.
        target: (B, 1 or more, *spatial), as nnU-Net's loss takes it.
        encoded: (B, J) bool, best on the CPU, where it is needed.
        segmentation: takes logits and target of the same samples.

    Source: Ding et al., RFNet, section 3.3; Zhang et al., mmFormer, section 2.4.
    """
    sample, modality = encoded.cpu().nonzero(as_tuple=True)
    rows_of_each = [(modality == j).nonzero().squeeze(1) for j in range(encoded.shape[1])]
    losses = [segmentation(_rows(logits, rows), _rows(target, sample[rows])) for rows in rows_of_each if len(rows)]
    return torch.stack(losses).sum() if losses else logits.sum() * 0


class UnimodalTerm(nn.Module, StepTerm):
    """`unimodal_loss` of a decoder that gets one modality's levels at a time.

    Args:
        decoder: takes levels from ``level`` on, of all pairs of sample and modality as one batch.
        level: 0 is full resolution.
        segmentation: nnU-Net's loss at one resolution.
    """

    uses_dropped = True

    def __init__(self, decoder: nn.Module, level: int, segmentation: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.decoder = decoder
        self.level = level
        self.segmentation = _of_one_process(segmentation)

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> UnimodalTerm:
        """Return the term with a new decoder.

        Raises:
            ValueError: the network has no such level.
        """
        assert setting.decoder is not None
        assert setting.segmentation is not None
        level, lowest = 0, len(setting.decoder.channels) - 2
        if choices["auxiliary"] == "unimodal_low":
            level = choices["auxiliary_level"]
            if level > lowest:
                fix = f"set it to a level from 1 to {lowest}" if lowest else 'set auxiliary to "unimodal"'
                raise ValueError(
                    f'"missingmod" block of the plans: auxiliary_level is {level}, and no decoder of this network of '
                    f"{lowest + 2} levels can end there: {fix}."
                )
        return cls(setting.decoder.build(level=level), level, setting.segmentation)

    def of_step(self, step: Step) -> Tensor:
        """Return the loss of every modality that was encoded, whether it was kept or not."""
        assert step.separately is not None
        logits = self.unimodal_logits(step.separately)
        with autocast_off(logits):
            target = at_resolution(step.targets, logits.shape[2:])
            encoded = step.separately.encoded_on_host()
            return unimodal_loss(logits.float(), target, encoded, segmentation=self.segmentation)

    def unimodal_logits(self, separately: Separately) -> Tensor:
        """Return (N, K, *spatial) at the term's level, of the pairs in ``separately.encoded``, sample by sample."""
        pairs = separately.encoded_on_host().flatten().nonzero().squeeze(1)
        rows: Tensor = self.decoder([_rows(level.flatten(0, 1), pairs) for level in separately.levels[self.level :]])
        return rows


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Return the rows of values that an index on the CPU names; no device is waited for."""
    return values.index_select(0, index.to(values.device, non_blocking=True))


def _of_one_process(segmentation: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss with a batch Dice over this process's own samples: others may have none of a modality."""
    dice = getattr(segmentation, "dc", None)
    if not getattr(dice, "ddp", False):
        return segmentation
    alone: Any = deepcopy(segmentation)
    alone.dc.ddp = False
    return alone
