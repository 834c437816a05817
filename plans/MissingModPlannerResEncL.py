"""nnU-Net's residual encoder plans, size L, for a parallel network."""

from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
)

from nnunet_missingmod.planning.parallel_planner import ParallelPlanner


class MissingModPlannerResEncL(ParallelPlanner, nnUNetPlannerResEncL):
    """Plan as nnUNetPlannerResEncL does, so that a parallel network meets its memory target (24 GB)."""

    default_plans_name = "nnUNetMissingModResEncUNetLPlans"
