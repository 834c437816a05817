"""One synthetic case: anatomy, tumour, confounders and four scans, all drawn from a single seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.demo.acquisition import acquire
from nnunet_missingmod.demo.anatomy import build_anatomy, load_template, sample_pose, sample_template
from nnunet_missingmod.demo.confounders import sample_confounders
from nnunet_missingmod.demo.contrast import MODALITIES, render, sample_tumour_tissue
from nnunet_missingmod.demo.grid import Grid, Spacing, resolve_grid
from nnunet_missingmod.demo.tumour import grow_labels, mass_effect_mm, sample_plan

Seed = int | np.random.SeedSequence


@dataclass(frozen=True)
class PhantomCase:
    """A synthetic case on its canvas.

    Attributes:
        images: modality name to image (X, Y, Z), float32 holding whole numbers, 0 outside the brain; in channel order.
        labels: (X, Y, Z) uint8: 0 background, 1 NCR, 2 ED, 3 ET.
        spacing_mm: voxel size of each axis; the axes point left, back and up (SimpleITK's identity direction).
        description: the tumour in words.
    """

    images: dict[str, NDArray[np.float32]]
    labels: NDArray[np.uint8]
    spacing_mm: Spacing
    description: str


def generate_case(
    seed: Seed,
    *,
    size: Sequence[int] | None = None,
    spacing_mm: Sequence[float] | float | None = None,
    canvas: Sequence[int] | None = None,
) -> PhantomCase:
    """Return the case of a seed; the same seed and geometry give the same case.

    On another machine or with other versions of numpy and scipy, rounding may move single voxels of a label map.

    Args:
        seed: a whole number, or a SeedSequence that has not spawned.
        size: brain box (X, Y, Z) in voxels.
        spacing_mm: voxel size in mm, one number or one for each axis.
        canvas: volume (X, Y, Z) in voxels. See ``resolve_grid`` for the defaults of size, spacing and canvas.

    Raises:
        ValueError: the geometry is refused by ``resolve_grid``, or the seed is negative.
    """
    if isinstance(seed, int) and seed < 0:
        raise ValueError(f"A seed is 0 or more, got {seed}.")
    return draw_case(seed, resolve_grid(size, spacing_mm, canvas))


def draw_case(seed: Seed, grid: Grid) -> PhantomCase:
    """Return the case of a seed on a grid that is known to fit."""
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    # Each step draws from its own random stream, so that a change to one does not change the others.
    anatomy_rng, tumour_rng, confounder_rng, tissue_rng, *modality_rngs = (
        np.random.Generator(np.random.PCG64(child)) for child in sequence.spawn(4 + len(MODALITIES))
    )
    pose = sample_pose(anatomy_rng, grid)
    points_mm = grid.points_mm()
    template = load_template()
    template_mm = pose.to_template_mm(points_mm, template)
    before = sample_template(("white", "mask"), template_mm)
    brain = before["mask"] > 0.5
    depth_mm = grid.depth_mm(brain)
    plan = sample_plan(tumour_rng, grid, white=before["white"], brain=brain, depth_mm=depth_mm, template_mm=template_mm)
    anatomy = build_anatomy(
        anatomy_rng,
        grid,
        template_mm=template_mm,
        displaced_template_mm=pose.to_template_mm(points_mm - mass_effect_mm(plan, grid), template),
    )
    labels = grow_labels(tumour_rng, grid, plan=plan, anatomy=anatomy, brain_voxels=int(brain.sum()))
    confounders = sample_confounders(confounder_rng, grid, anatomy=anatomy, labels=labels, depth_mm=depth_mm)
    tumour = sample_tumour_tissue(tissue_rng, grid, labels=labels, anatomy=anatomy, low_grade=plan.low_grade)
    images = {}
    for modality, rng in zip(MODALITIES, modality_rngs, strict=True):
        ideal = render(rng, modality, grid, anatomy=anatomy, tumour=tumour, confounders=confounders)
        images[modality] = _on_canvas(acquire(rng, modality, grid, ideal=ideal, brain=anatomy.brain), grid)
    share = float((labels > 0).sum() / anatomy.brain.sum())
    return PhantomCase(
        images=images,
        labels=_on_canvas(labels, grid),
        spacing_mm=grid.spacing_mm,
        description=f"synthetic {plan.growth} tumour, {share:.1%} of the brain",
    )


def _on_canvas(volume: np.ndarray, grid: Grid) -> np.ndarray:
    # The template's axes point right and front; scans are stored left and back.
    return np.ascontiguousarray(grid.pad(volume[::-1, ::-1]))
