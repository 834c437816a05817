"""Plans for the reference network of Robust Divergence Learning: nnU-Net's plan of the data, the published network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnunet_missingmod.planning.parallel_planner import ParallelPlanner

WIDTHS = (16, 32, 64, 128, 128)
NUM_GROUPS = 8
PATCH = 128  # voxels a side
BATCH_SIZE = 2  # cases, as in the released code

_FACTOR = 2 ** (len(WIDTHS) - 1)


class ReferencePlanner(ParallelPlanner):
    """nnU-Net's default planner, which replaces network, patch and batch size by those of RDL's released code.

    The patch has 128 voxels a side, or the multiple of 16 that covers the median case where that is less. The memory
    target has no influence on it.
    """

    channel_encoder = "none"

    def get_plans_for_configuration(
        self, spacing: Any, median_shape: Any, data_identifier: str, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Return nnU-Net's plan of a configuration with the reference network."""
        plan = super().get_plans_for_configuration(spacing, median_shape, data_identifier, *args, **kwargs)
        axes = len(plan["patch_size"])
        return {
            **plan,
            "patch_size": [_patch(size) for size in plan["median_image_size_in_voxels"][-axes:]],
            "batch_size": BATCH_SIZE,
            "architecture": reference_architecture(axes),
        }


def reference_architecture(axes: int, widths: Sequence[int] = WIDTHS) -> dict[str, Any]:
    """Return what plans say of the reference network of 2 or 3 axes."""
    stages = len(widths)
    return {
        "network_class_name": "nnunet_missingmod.networks.reference_unet.ReferenceUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(widths),
            "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
            "kernel_sizes": [[3] * axes] * stages,
            "strides": [[1] * axes] + [[2] * axes] * (stages - 1),
            "num_groups": NUM_GROUPS,
        },
        "_kw_requires_import": ["conv_op"],
    }


def _patch(size: float) -> int:
    return min(PATCH, _FACTOR * -(-round(size) // _FACTOR))
