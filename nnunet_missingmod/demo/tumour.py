"""The tumour: its site, its mass effect, and its labels (1 necrotic core, 2 oedema, 3 enhancing tumour).

It grows in the anatomy of ``anatomy``; ``contrast`` draws its tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_missingmod.demo.anatomy import Anatomy, Mask, Volume, largest_part, rotation_matrix
from nnunet_missingmod.demo.grid import Grid

NCR, ED, ET = 1, 2, 3
Growth = Literal["ring", "solid", "patchy", "low-grade"]

LOW_GRADE_SHARE = 0.27
# High-grade growth patterns and their shares.
HIGH_GRADE_GROWTH: dict[Growth, float] = {"ring": 0.62, "solid": 0.20, "patchy": 0.18}

# Site: white matter at some depth, away from the midline, in the cerebrum; rarely in the cerebellum, and then smaller.
SITE_DEPTH_MM = 9.0
SITE_FROM_MIDLINE_MM = 8.0
CEREBRUM_ABOVE_MM = -18.0
# The cerebellum lies behind and below these template positions.
CEREBELLUM_BEHIND_MM = -42.0
CEREBELLUM_BELOW_MM = -2.0
INFRATENTORIAL_SHARE = 0.06
INFRATENTORIAL_SIZE = 0.35

# Whole tumour as a share of the brain: log-normal (median, log spread) with limits; core as a share of the whole: beta.
WHOLE_SHARE = (0.062, 0.5)
WHOLE_LIMITS = (0.015, 0.16)
CORE_BETA_HIGH = (4.5, 6.0)
CORE_BETA_LOW = (6.0, 4.0)
CORE_LIMITS = (0.12, 0.92)
# Mass effect: outward push at the core's rim in core radii; low-grade tumours infiltrate more than they push.
PUSH_RADII = (0.2, 0.65)
PUSH_LOW_GRADE = 0.6
PUSH_DECAY_RADII = 1.4

# A morphological opening removes thin strands; with coarser voxels than this it would remove most of the tumour.
OPENING_UP_TO_MM = 3.2
# How much harder growth is through ventricles, through fluid, and (oedema) away from white matter or over the midline.
CORE_IN_VENTRICLE, CORE_IN_FLUID = 2.5, 0.8
OEDEMA_OFF_WHITE, OEDEMA_ACROSS = 3.0, 1.8
# Oedema is drawn slightly too large, because smoothing removes some of it.
OEDEMA_SURPLUS = 1.12
SATELLITE_SHARE = 0.25
SATELLITE_RADIUS_MM = (2.5, 4.5)
LOW_GRADE_ENHANCING_SHARE = 0.3


@dataclass(frozen=True)
class TumourPlan:
    """The values drawn before the tumour grows: its site, its volumes as shares of the brain, and its mass effect."""

    growth: Growth
    centre: tuple[int, ...]
    whole_share: float
    core_share: float
    core_radius_mm: float
    push_mm: float

    @property
    def low_grade(self) -> bool:
        return self.growth == "low-grade"


def sample_plan(
    rng: np.random.Generator, grid: Grid, *, white: Volume, brain: Mask, depth_mm: Volume, template_mm: Volume
) -> TumourPlan:
    """Draw the tumour's growth pattern, its site in deep white matter and its volumes.

    Args:
        rng: source of randomness; the number of draws does not depend on the anatomy.
        grid: the case's grid.
        white: white-matter share (X, Y, Z) before the tumour.
        brain: the brain before the tumour.
        depth_mm: distance to the brain's surface, 0 outside.
        template_mm: template position (3, X, Y, Z) of each voxel.
    """
    low_grade = bool(rng.random() < LOW_GRADE_SHARE)
    pattern = list(HIGH_GRADE_GROWTH)[int(rng.choice(len(HIGH_GRADE_GROWTH), p=list(HIGH_GRADE_GROWTH.values())))]
    x, y, z = template_mm
    cerebellum = (y < CEREBELLUM_BEHIND_MM) & (z < CEREBELLUM_BELOW_MM)
    deep = (white > 0.5) & (depth_mm > SITE_DEPTH_MM) & (np.abs(x) > SITE_FROM_MIDLINE_MM)
    infratentorial = bool(rng.random() < INFRATENTORIAL_SHARE) and bool((deep & cerebellum).any())
    site = deep & cerebellum if infratentorial else deep & (z > CEREBRUM_ABOVE_MM) & ~cerebellum
    centre = choose_voxel(rng, site)
    median, spread = WHOLE_SHARE
    whole = float(np.clip(np.exp(rng.normal(np.log(median), spread)), *WHOLE_LIMITS))
    whole *= INFRATENTORIAL_SIZE if infratentorial else 1.0
    core = float(np.clip(rng.beta(*(CORE_BETA_LOW if low_grade else CORE_BETA_HIGH)), *CORE_LIMITS))
    core_mm3 = whole * core * float(brain.sum()) * float(np.prod(grid.spacing_mm))
    radius = (3 * core_mm3 / (4 * np.pi)) ** (1 / 3)
    return TumourPlan(
        growth="low-grade" if low_grade else pattern,
        centre=centre,
        whole_share=whole,
        core_share=core,
        core_radius_mm=radius,
        push_mm=float(rng.uniform(*PUSH_RADII)) * radius * (PUSH_LOW_GRADE if low_grade else 1.0),
    )


def mass_effect_mm(plan: TumourPlan, grid: Grid) -> Volume:
    """Return the displacement of each voxel's tissue away from the tumour's centre, (3, X, Y, Z) in mm.

    The push grows linearly up to the core's rim and decays exponentially beyond it.
    """
    offset = grid.offsets_mm(plan.centre)
    distance = np.sqrt((offset**2).sum(0)) + 1e-3
    radius = plan.core_radius_mm
    profile = np.where(distance < radius, distance / radius, np.exp(-(distance - radius) / (PUSH_DECAY_RADII * radius)))
    return (plan.push_mm * profile * offset / distance).astype(np.float32)


def grow_labels(
    rng: np.random.Generator, grid: Grid, *, plan: TumourPlan, anatomy: Anatomy, brain_voxels: int
) -> NDArray[np.uint8]:
    """Return the label map (X, Y, Z): 0 background, 1 necrotic or non-enhancing core, 2 oedema, 3 enhancing tumour."""
    opening = max(grid.spacing_mm) <= OPENING_UP_TO_MM
    core = _grow_core(rng, grid, plan=plan, anatomy=anatomy, voxels=plan.whole_share * plan.core_share * brain_voxels)
    if opening:
        opened = ndimage.binary_opening(core) | (core & (grid.ball_mm(plan.centre) < 0.5 * plan.core_radius_mm))
        core = opened if opened.any() else core
    core = largest_part(core)
    oedema_voxels = OEDEMA_SURPLUS * plan.whole_share * brain_voxels - float(core.sum())
    oedema = _grow_oedema(rng, grid, plan=plan, anatomy=anatomy, core=core, voxels=oedema_voxels)
    tissue = anatomy.brain & ~core & (anatomy.ventricles < 0.5)
    oedema = ndimage.binary_closing(oedema) & tissue
    if opening:
        oedema = ndimage.binary_opening(oedema)
    oedema = _connected_parts(oedema, core)
    labels = np.zeros(grid.size, np.uint8)
    labels[oedema] = ED
    labels[core] = NCR
    labels[_enhancing(rng, grid, core=core, growth=plan.growth)] = ET
    labels[_satellites(rng, grid, oedema=oedema) & (not plan.low_grade)] = ET
    return labels


def _grow_core(rng: np.random.Generator, grid: Grid, *, plan: TumourPlan, anatomy: Anatomy, voxels: float) -> Mask:
    """Take the voxels of lowest cost: an ellipsoid with a rough surface, hindered by fluid."""
    offset = grid.offsets_mm(plan.centre)
    stretch = np.exp(rng.normal(0, 0.18, 3))
    stretch /= np.prod(stretch) ** (1 / 3)
    shape = (np.diag(stretch) @ rotation_matrix(rng.uniform(0, np.pi, 3))).astype(np.float32)
    radius = np.sqrt((np.tensordot(shape, offset, 1) ** 2).sum(0))
    rough = (0.18 if plan.low_grade else 0.26) * grid.field(rng, 0.8 * plan.core_radius_mm, at_least=2.0)
    rough += 0.10 * grid.field(rng, 4.0, at_least=1.2)
    hindered = 1 + CORE_IN_VENTRICLE * anatomy.ventricles + CORE_IN_FLUID * anatomy.fluid
    return cheapest(radius * np.exp(rough) * hindered, anatomy.brain & (anatomy.ventricles < 0.5), voxels)


def _grow_oedema(
    rng: np.random.Generator, grid: Grid, *, plan: TumourPlan, anatomy: Anatomy, core: Mask, voxels: float
) -> Mask:
    """Take the voxels of lowest cost around the core: oedema spreads along white matter and spares the cortex."""
    white = ndimage.gaussian_filter(anatomy.white, grid.sigma_voxels(2.0))
    rough = 0.42 * grid.field(rng, 11.0) + 0.15 * grid.field(rng, 5.0, at_least=1.2)
    cost = (grid.depth_mm(~core) + 1.5) * np.exp(rough) * (1 + OEDEMA_OFF_WHITE * (1 - white) ** 1.5)
    side = np.sign(anatomy.template_mm[0])
    cost *= np.where(side != side[plan.centre], OEDEMA_ACROSS, 1.0)
    return cheapest(cost, anatomy.brain & ~core & (anatomy.fluid < 0.6) & (anatomy.ventricles < 0.4), voxels)


def _enhancing(rng: np.random.Generator, grid: Grid, *, core: Mask, growth: Growth) -> Mask:
    """Return the enhancing part of the core for a growth pattern; most low-grade tumours have none."""
    depth = grid.depth_mm(core)
    depth /= np.quantile(depth[core], 0.98) + 1e-3
    texture = grid.field(rng, 5.0, at_least=1.5)
    volume = float(core.sum())
    if growth == "ring":
        necrotic = cheapest(-(depth + 0.30 * texture), core, rng.uniform(0.30, 0.62) * volume)
        gap = grid.field(rng, 10.0, at_least=2.0) > 1.55  # a broken rim
        return core & ~necrotic & ~gap
    if growth == "solid":
        return core & ~cheapest(-(0.5 * depth + texture), core, rng.uniform(0.05, 0.22) * volume)
    if growth == "patchy":
        grain = 0.2 * grid.field(rng, 0.0, at_least=1.2)
        return cheapest(-(texture + grain), core, rng.uniform(0.2, 0.5) * volume)
    enhances = rng.random() < LOW_GRADE_ENHANCING_SHARE
    nodule = cheapest(-texture, core & (depth > 0.2), rng.uniform(0.01, 0.06) * volume)
    return nodule & enhances


def _satellites(rng: np.random.Generator, grid: Grid, *, oedema: Mask) -> Mask:
    """Return up to two small enhancing foci in the oedema."""
    foci = np.zeros_like(oedema)
    count = int(rng.integers(1, 3)) if rng.random() < SATELLITE_SHARE else 0
    for _ in range(count if oedema.any() else 0):
        foci |= grid.ball_mm(choose_voxel(rng, oedema)) < rng.uniform(*SATELLITE_RADIUS_MM)
    return foci & oedema


def choose_voxel(rng: np.random.Generator, mask: Mask) -> tuple[int, ...]:
    """Return a voxel drawn uniformly from a mask.

    Every voxel of the volume gets a random number, and the voxel of the mask with the largest is chosen. So if rounding
    on another machine adds a voxel to the mask or removes one, the choice almost never changes, and the later draws
    never do.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("There is no voxel to choose from: the grid is too coarse, give a larger size.")
    keys = rng.random(mask.shape, dtype=np.float32)
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(np.where(mask, keys, -1))), mask.shape))


def cheapest(cost: Volume, allowed: Mask, voxels: float) -> Mask:
    """Return the mask of the ``voxels`` allowed voxels of lowest cost: at least one, and all if there are fewer."""
    costs = cost[allowed]
    if costs.size == 0:
        return np.zeros_like(allowed)
    count = int(min(max(voxels, 1), costs.size))
    return allowed & (cost <= np.partition(costs, count - 1)[count - 1])


def _connected_parts(mask: Mask, seed: Mask) -> Mask:
    """Return the parts of a mask that are connected to the seed."""
    parts, _ = ndimage.label(mask | seed)
    kept = np.unique(parts[seed])
    return np.isin(parts, kept[kept > 0]) & mask
