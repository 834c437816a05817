"""Structures that are as bright or dark as tumour: white-matter lesions, vessels, meninges, cysts. None is labelled.

They are drawn after the tumour. Without them a threshold would find the tumour; with them a modality shows about as
much of it as in patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_missingmod.demo.anatomy import Anatomy, Mask, Volume
from nnunet_missingmod.demo.grid import Grid
from nnunet_missingmod.demo.tumour import ET, choose_voxel

# White-matter lesions: burden of ageing (beta), caps around the ventricles (mm) and scattered spots.
AGE_BETA = (1.6, 2.4)
NO_CAPS_BELOW_AGE = 0.12
CAP_REACH_MM = 7.0
# Vessels are where two random fields cross zero at the same place; the width is in units of the fields.
VESSEL_WIDTH = 0.20
VESSEL_SHELL_MM = 22.0
SINUS_WIDTH_MM = 2.2
CYST_SHARE = 0.3
CYST_RADIUS_MM = (3.0, 8.0)
CYST_FROM_TUMOUR_MM = 12.0


@dataclass(frozen=True)
class Confounders:
    """Opacity in 0..1 of each confounder, (X, Y, Z)."""

    white_matter_lesions: Volume
    vessels: Volume
    cysts: Volume


def sample_confounders(
    rng: np.random.Generator, grid: Grid, *, anatomy: Anatomy, labels: NDArray[np.uint8], depth_mm: Volume
) -> Confounders:
    """Draw the confounders of a case.

    Args:
        rng: source of randomness.
        grid: the case's grid.
        anatomy: tissues with the tumour's mass effect.
        labels: the tumour's labels.
        depth_mm: distance to the brain's surface before the tumour pushed.
    """
    free = anatomy.brain & (labels == 0)
    return Confounders(
        white_matter_lesions=_white_matter_lesions(rng, grid, anatomy=anatomy, free=free),
        vessels=_vessels(rng, grid, anatomy=anatomy, enhancing=labels == ET, depth_mm=depth_mm),
        cysts=_cysts(rng, grid, free=free & (depth_mm > 5), tumour=labels > 0),
    )


def _white_matter_lesions(rng: np.random.Generator, grid: Grid, *, anatomy: Anatomy, free: Mask) -> Volume:
    age = float(rng.beta(*AGE_BETA))
    from_ventricles = grid.depth_mm(anatomy.ventricles < 0.5)
    caps = np.clip((age * CAP_REACH_MM + 1.2 * grid.field(rng, 8.0) - from_ventricles) / 2.5, 0, 1)
    caps = caps * (anatomy.white > 0.3) * free * (age > NO_CAPS_BELOW_AGE)
    spots = np.clip((grid.field(rng, 3.2, at_least=1.1) - (3.5 - 1.3 * age)) / 0.5, 0, 1)
    return np.maximum(caps, spots * (anatomy.white > 0.6) * free).astype(np.float32)


def _vessels(rng: np.random.Generator, grid: Grid, *, anatomy: Anatomy, enhancing: Mask, depth_mm: Volume) -> Volume:
    """Draw vessels in fluid and near the surface, sinus, choroid plexus, and meninges that skull stripping left."""
    crossing = grid.field(rng, 7.0) ** 2 + grid.field(rng, 7.0) ** 2
    vascular = np.clip(2 * anatomy.fluid + 0.35 * (depth_mm < VESSEL_SHELL_MM) + 0.35 * anatomy.grey, 0, 1)
    vessels = np.exp(-crossing / (2 * VESSEL_WIDTH**2)) * vascular * (anatomy.ventricles < 0.3) * ~enhancing
    across, _, up = anatomy.template_mm
    sinus = np.exp(-((across / SINUS_WIDTH_MM) ** 2)) * np.clip(2 * anatomy.fluid, 0, 1) * (depth_mm < 9) * (up > 5)
    plexus = np.clip((grid.field(rng, 3.5, at_least=1.2) - 0.9) / 0.5, 0, 1) * (anatomy.ventricles > 0.5)
    surface = anatomy.brain & ~ndimage.binary_erosion(anatomy.brain, ndimage.generate_binary_structure(3, 2))
    meninges = np.clip((grid.field(rng, 9.0) - 0.6) / 0.4, 0, 1) * surface
    strongest = np.maximum.reduce([vessels, 0.8 * sinus, 0.75 * plexus, 0.55 * meninges])
    return np.clip(strongest, 0, 1).astype(np.float32)


def _cysts(rng: np.random.Generator, grid: Grid, *, free: Mask, tumour: Mask) -> Volume:
    """Draw lacunes and arachnoid cysts: one or two balls of fluid at a distance from the tumour."""
    cysts = np.zeros(grid.size, np.float32)
    count = int(rng.integers(1, 3)) if rng.random() < CYST_SHARE else 0
    if count == 0:
        return cysts
    room = free & (grid.depth_mm(~tumour) > CYST_FROM_TUMOUR_MM)
    for _ in range(count if room.any() else 0):
        from_centre = grid.ball_mm(choose_voxel(rng, room))
        cysts = np.maximum(cysts, np.clip((rng.uniform(*CYST_RADIUS_MM) - from_centre) / 1.5, 0, 1) * free)
    return cysts.astype(np.float32)
