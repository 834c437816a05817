"""Masked multimodal pretraining: which cubes of a batch are hidden, and the loss of what is made of the rest.

Only tensors here; the trainer is in ``masked_pretrainer``.

Source: Liu et al., M3AE: Multimodal Representation Learning for Brain Tumor Segmentation with Missing Modalities,
AAAI 2023 (first stage).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nnunet_missingmod.absence import BoolArray, over_voxels

CUBES_PER_AXIS = 8


def draw_cubes(
    present: BoolArray, kept: BoolArray, patch_size: Sequence[int], *, masked_share: float, rng: np.random.Generator
) -> BoolArray:
    """Draw the cubes that stay visible, (B, J, *cubes): True where a cube of a modality is not hidden.

    The patch is divided into 8 cubes per axis (fewer if it has fewer voxels there). Of the cubes of the modalities that
    a case has, 1 - masked_share stay. Modalities that were dropped are hidden whole, so those that stay lie in the
    modalities that were kept, each modality by itself and each cube with the same probability. At least one stays, and
    at most all of what was kept.

    Args:
        present: (B, J), the modalities that the cases have.
        kept: (B, J), those of them that were not dropped.
        patch_size: voxels per axis.
        masked_share: from 0 up to, not including, 1.
        rng: what is drawn with.
    """
    grid = tuple(min(CUBES_PER_AXIS, size) for size in patch_size)
    of_modality = int(np.prod(grid))
    visible = np.zeros((*kept.shape, of_modality), dtype=bool)
    for case, (has, keeps) in enumerate(zip(present, kept, strict=True)):
        choices = int(keeps.sum()) * of_modality
        count = min(choices, max(1, round((1 - masked_share) * int(has.sum()) * of_modality)))
        drawn = np.zeros(choices, dtype=bool)
        drawn[rng.permutation(choices)[:count]] = True
        visible[case, keeps] = drawn.reshape(-1, of_modality)
    return visible.reshape(*kept.shape, *grid)


def to_voxels(cubes: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Return cubes (B, J, *cubes) as voxels (B, J, *patch_size); edges are as equal as whole voxels allow."""
    for axis, size in enumerate(patch_size, start=2):
        index = torch.arange(size, device=cubes.device) * cubes.shape[axis] // size
        cubes = cubes.index_select(axis, index)
    return cubes


def reconstruction_loss(output: Tensor, images: Tensor, present: Tensor) -> Tensor:
    """Return the mean squared error over all voxels of the modalities that the cases have.

    L = sum_bj p_bj mean_v (output_bjv - x_bjv)^2 / sum_bj p_bj, in float32. The content of an absent modality has no
    influence.

    Args:
        output: (B, J, *spatial).
        images: (B, J, *spatial), before anything was hidden; what is absent may hold anything.
        present: (B, J) bool, on the same device.
    """
    error = torch.where(over_voxels(present, output), output.float() - images.float(), 0.0)
    of_each = error.square().flatten(2).mean(2)
    return of_each.sum() / present.sum()


def explained(output: Tensor, images: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return per modality (J,) the squares that the output explains of the hidden voxels, and those that it leaves.

    With m the mean of a modality's hidden voxels, total = sum (x - m)^2 and left = min(sum (output - x)^2, total);
    explained = total - left, so that explained / total is the explained variance, or 0 where there is none.

    Args:
        output, images: (B, J, *spatial).
        hidden: (B, J, *spatial) bool, of modalities that the cases have.
    """
    axes = [0, *range(2, output.ndim)]
    count = hidden.sum(axes).clamp(min=1)
    known = torch.where(hidden, images.float(), 0.0)
    means = (known.sum(axes) / count).reshape(1, -1, *[1] * (output.ndim - 2))
    total = torch.where(hidden, known - means, 0.0).square().sum(axes)
    left = torch.where(hidden, output.float() - known, 0.0).square().sum(axes)
    left = torch.minimum(left, total)
    return total - left, left
