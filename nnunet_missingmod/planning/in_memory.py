"""nnU-Net's planning commands in this process, where they find this package's classes."""

from __future__ import annotations

from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
from nnunetv2.preprocessing.preprocessors import default_preprocessor

from nnunet_missingmod.external import missingmod_bridge

SEARCHED = (default_experiment_planner, default_preprocessor)
"""A module of each folder that the planning commands look into."""


def bridge_in_memory() -> None:
    """Let nnU-Net's class searches in this process find planners, fingerprint extractors and preprocessor."""
    for module in SEARCHED:
        vars(module)["__getattr__"] = missingmod_bridge.__getattr__
