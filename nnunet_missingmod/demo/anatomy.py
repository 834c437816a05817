"""The subject's brain without and with the tumour's mass effect: an average brain, posed, deformed, folded at random.

It is the first step of a phantom case; the tumour then grows in the anatomy that this module returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_missingmod.demo.grid import Grid

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Template: fluid deeper than this below the brain's surface is ventricle; deep grey matter fades in over a range.
VENTRICLES_BELOW_MM = 18.0
DEEP_GREY_FROM_MM = 16.0
DEEP_GREY_OVER_MM = 8.0

# Pose of a subject: spread of rotations (degrees), of sizes (share, with limits) and of shifts (mm).
ROTATION_SD_DEG = 4.0
SCALE_SD = 0.045
SCALE_LIMITS = (-0.09, 0.06)
SHIFT_SD_MM = 1.5
# Elastic deformation: amplitude and correlation length, coarse and fine, in mm.
ELASTIC_MM = ((2.6, 24.0), (0.9, 10.0))

# Tissue maps: the average is sharpened by a power in this range; folds of this length move fluid and white matter.
SHARPEN = (1.6, 2.2)
FOLD_STRENGTH = 0.55
FOLD_MM = 2.6
# Shift of the log odds of fluid, mean and spread: how wide a subject's sulci are.
FLUID_LOG_ODDS = (0.3, 0.4)
TISSUE_FLOOR = 0.02
# Irregularity of the brain mask's border, as brain extraction leaves it.
MASK_ROUGHNESS = 0.12
MASK_ROUGH_MM = 6.0


@dataclass(frozen=True)
class Template:
    """Average brain: maps in 0..1 on axes pointing right, front and up, 0 in mm near the anterior commissure."""

    maps: dict[str, Volume]
    origin_mm: NDArray[np.float64]
    centre_mm: NDArray[np.float64]
    extent_mm: NDArray[np.float64]
    spacing_mm: float


@dataclass(frozen=True)
class Pose:
    """Map from a subject's space to the template's: ``matrix @ (point + elastic) + shift``, all in mm."""

    matrix: Volume
    shift_mm: Volume
    elastic_mm: Volume

    def to_template_mm(self, points_mm: Volume, template: Template) -> Volume:
        """Return where points (3, X, Y, Z) of the subject lie in the template, in mm."""
        moved = np.tensordot(self.matrix, points_mm + self.elastic_mm, 1)
        offset = self.shift_mm + template.centre_mm.astype(np.float32)
        return moved + offset[:, None, None, None]


@dataclass(frozen=True)
class Anatomy:
    """Tissue fractions in 0..1 of a subject (fluid + grey + white = 1), the brain mask and template positions."""

    fluid: Volume
    grey: Volume
    white: Volume
    deep_grey: Volume
    ventricles: Volume
    brain: Mask
    template_mm: Volume


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Return the average brain that the package contains (its licence notice is in the same folder)."""
    with resources.files("nnunet_missingmod.demo").joinpath("anatomy_2mm.npz").open("rb") as file, np.load(file) as npz:
        stored = {name: npz[name].astype(np.float32) / float(npz["levels"]) for name in ("grey", "white", "mask")}
        origin, spacing = npz["origin_mm"], float(npz["spacing_mm"])
    inside = stored["mask"] > 0.5
    depth = ndimage.distance_transform_edt(inside) * spacing
    fluid = np.clip(stored["mask"] - stored["grey"] - stored["white"], 0, 1)
    cavity = largest_part((fluid > 0.5) & (depth > VENTRICLES_BELOW_MM))
    soft_cavity = ndimage.gaussian_filter(ndimage.binary_dilation(cavity).astype(np.float32), 0.5)
    deep = np.clip((depth - DEEP_GREY_FROM_MM) / DEEP_GREY_OVER_MM, 0, 1).astype(np.float32)
    voxels = np.argwhere(inside)
    first, last = voxels.min(0), voxels.max(0)
    return Template(
        maps={**stored, "fluid": fluid, "ventricles": soft_cavity * (fluid > 0.2), "deep_grey": stored["grey"] * deep},
        origin_mm=origin,
        centre_mm=origin + spacing * (first + last) / 2,
        extent_mm=spacing * (last - first),
        spacing_mm=spacing,
    )


def sample_pose(rng: np.random.Generator, grid: Grid) -> Pose:
    """Draw the size, the position and the shape of a subject's head."""
    rotation = rotation_matrix(np.deg2rad(rng.normal(0, ROTATION_SD_DEG, 3)))
    scale = 1 + np.clip(rng.normal(0, SCALE_SD, 3), *SCALE_LIMITS)
    elastic = np.stack(
        [sum(amplitude * grid.field(rng, sigma_mm) for amplitude, sigma_mm in ELASTIC_MM) for _ in range(3)]
    )
    return Pose(
        matrix=(rotation @ np.diag(1 / scale)).astype(np.float32),
        shift_mm=rng.normal(0, SHIFT_SD_MM, 3).astype(np.float32),
        elastic_mm=elastic.astype(np.float32),
    )


def sample_template(names: Sequence[str], template_mm: Volume) -> dict[str, Volume]:
    """Return the template's maps of these names at positions (3, X, Y, Z) in mm, linearly interpolated."""
    template = load_template()
    voxels = (template_mm - template.origin_mm[:, None, None, None].astype(np.float32)) / template.spacing_mm
    return {name: ndimage.map_coordinates(template.maps[name], voxels, order=1, mode="constant") for name in names}


def build_anatomy(
    rng: np.random.Generator, grid: Grid, *, template_mm: Volume, displaced_template_mm: Volume
) -> Anatomy:
    """Return the subject's tissues with the tumour's mass effect.

    Args:
        rng: source of randomness.
        grid: where to sample.
        template_mm: template position of each voxel (3, X, Y, Z) before the tumour pushed, kept for orientation.
        displaced_template_mm: the same after the push; the tissues are taken from here.
    """
    maps = sample_template(("grey", "white", "fluid", "mask", "ventricles", "deep_grey"), displaced_template_mm)
    brain = largest_part(maps["mask"] + MASK_ROUGHNESS * grid.field(rng, MASK_ROUGH_MM) > 0.5)
    power = rng.uniform(*SHARPEN)
    fluid_bias = rng.normal(*FLUID_LOG_ODDS)
    odds = {name: power * np.log(maps[name] + TISSUE_FLOOR) for name in ("fluid", "grey", "white")}
    odds["fluid"] += fluid_bias + FOLD_STRENGTH * grid.field(rng, FOLD_MM, at_least=1.0)
    odds["white"] += FOLD_STRENGTH * grid.field(rng, FOLD_MM, at_least=1.0)
    top = np.maximum(np.maximum(odds["fluid"], odds["grey"]), odds["white"])
    share = {name: np.exp(value - top) for name, value in odds.items()}
    total = share["fluid"] + share["grey"] + share["white"]
    grey = share["grey"] / total
    return Anatomy(
        fluid=share["fluid"] / total,
        grey=grey,
        white=share["white"] / total,
        deep_grey=np.minimum(maps["deep_grey"], grey),
        ventricles=maps["ventricles"],
        brain=brain,
        template_mm=template_mm,
    )


def largest_part(mask: Mask) -> Mask:
    """Return the largest connected part of a mask (face neighbours), the mask itself if it is empty."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))


def rotation_matrix(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation by three angles in radians about x, y and z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z
