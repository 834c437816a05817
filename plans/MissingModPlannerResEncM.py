"""nnU-Net's residual encoder plans, size M, for a parallel network."""

from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncM,
)

from nnunet_missingmod.planning.parallel_planner import ParallelPlanner


class MissingModPlannerResEncM(ParallelPlanner, nnUNetPlannerResEncM):
    """Plan as nnUNetPlannerResEncM does, so that a parallel network meets its memory target (8 GB)."""

    default_plans_name = "nnUNetMissingModResEncUNetMPlans"
