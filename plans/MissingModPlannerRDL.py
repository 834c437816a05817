"""Plans that name the reference network of Robust Divergence Learning."""

from nnunet_missingmod.planning.reference_planner import ReferencePlanner


class MissingModPlannerRDL(ReferencePlanner):
    """Plan the data as nnU-Net's default planner does, and RDL's network, patches and batches as published."""

    default_plans_name = "nnUNetMissingModRDLPlans"
