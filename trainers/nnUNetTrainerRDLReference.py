"""Robust Divergence Learning as its released code trains it: its network, optimiser and loss, on nnU-Net's data."""

from nnunet_missingmod.trainers.nnUNetTrainerRDL import nnUNetTrainerRDL


class nnUNetTrainerRDLReference(nnUNetTrainerRDL):
    """Train RDL's reference network (plans of MissingModPlannerRDL) with Adam and Dice, without deep supervision."""

    optimizer_kind = "adam"
    initial_lr = 8e-4
    weight_decay = 1e-5
    segmentation_loss = "dice"
    deep_supervision = False
