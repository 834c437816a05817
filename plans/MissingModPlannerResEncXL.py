"""nnU-Net's residual encoder plans, size XL, for a parallel network."""

from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncXL,
)

from nnunet_missingmod.planning.parallel_planner import ParallelPlanner


class MissingModPlannerResEncXL(ParallelPlanner, nnUNetPlannerResEncXL):
    """Plan as nnUNetPlannerResEncXL does, so that a parallel network meets its memory target (40 GB)."""

    default_plans_name = "nnUNetMissingModResEncUNetXLPlans"
