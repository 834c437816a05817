"""Plans for RDL's reference network: as published where the cases are large, smaller where they are small."""

from __future__ import annotations

import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_missingmod import plans_block
from nnunet_missingmod.networks.reference_unet import ReferenceUNet
from nnunet_missingmod.trainers.nnUNetTrainerRDLReference import nnUNetTrainerRDLReference

SMALL = ([40, 48, 30], [1.0, 1.0, 1.0])


def test_the_plans_name_the_published_network_patch_and_batch(make_plans_of):
    plans = make_plans_of("MissingModPlannerRDL").plans
    assert plans["plans_name"] == "nnUNetMissingModRDLPlans"
    chosen = plans["configurations"]["3d_fullres"]
    assert (chosen["patch_size"], chosen["batch_size"]) == ([128, 128, 128], 2)
    assert chosen["architecture"]["arch_kwargs"]["features_per_stage"] == [16, 32, 64, 128, 128]
    manager = PlansManager(nnUNetTrainerRDLReference._with_choices(plans, "3d_fullres"))
    with torch.device("meta"):
        network = nnUNetTrainerRDLReference.build_network_architecture(
            manager, manager.get_configuration("3d_fullres"), 4, 3, False
        )
    assert isinstance(network.backbone, ReferenceUNet)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_245_235
    assert plans_block.BLOCK not in chosen


def test_patches_are_no_larger_than_the_median_case_needs(make_plans_of):
    configurations = make_plans_of("MissingModPlannerRDL", image=SMALL).plans["configurations"]
    assert sorted(configurations["3d_fullres"]["patch_size"]) == [32, 48, 48]
    assert len(configurations["2d"]["patch_size"]) == 2
    assert configurations["2d"]["architecture"]["arch_kwargs"]["conv_op"] == "torch.nn.modules.conv.Conv2d"
