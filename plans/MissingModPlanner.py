"""nnU-Net's plans, for a parallel network."""

from nnunet_missingmod.planning.parallel_planner import ParallelPlanner


class MissingModPlanner(ParallelPlanner):
    """Plan as nnU-Net's default planner does, so that a parallel network meets its memory target (8 GB)."""

    default_plans_name = "nnUNetMissingModPlans"
