"""Gradient surgery of the logits in the place of GGMD's of the parameters; not the published method."""

from nnunet_missingmod.trainers.families.nnUNetTrainerGGMD import nnUNetTrainerGGMD


class nnUNetTrainerGGMDLogits(nnUNetTrainerGGMD):
    """Train as nnUNetTrainerGGMD does, with conflicts judged at the modalities' outputs: one backward pass."""

    gradient_surgery = "logits"
