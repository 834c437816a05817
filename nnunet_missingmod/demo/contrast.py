"""Turns tissues into ideal images: the mean intensity of each tissue in each modality, mixed by volume fractions.

The tables are in units in which healthy white matter of T1 is about 1. They were set so that phantoms separate the
tumour's regions about as well, modality by modality, as 13 public patient scans do: FLAIR shows the whole tumour, and
only T1ce shows the enhancing part and with it the core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_missingmod.demo.anatomy import Anatomy, Mask, Volume
from nnunet_missingmod.demo.confounders import Confounders
from nnunet_missingmod.demo.grid import Grid
from nnunet_missingmod.demo.tumour import ED, ET, NCR

MODALITIES = ("FLAIR", "T1", "T1ce", "T2")

# Tissue: (mean, spread between subjects).
Table = dict[str, tuple[float, float]]
CONTRAST: dict[str, Table] = {
    "FLAIR": {
        "fluid": (0.14, 0.05), "grey": (0.60, 0.04), "white": (0.50, 0.03), "deep_grey": (0.55, 0.03),
        "oedema": (0.91, 0.10), "enhancing": (0.85, 0.11), "necrotic": (0.82, 0.18), "non_enhancing": (0.88, 0.15),
        "vessel": (0.45, 0.08), "blood": (0.55, 0.08), "lesion": (0.76, 0.09),
    },
    "T1": {
        "fluid": (0.28, 0.05), "grey": (0.72, 0.04), "white": (0.98, 0.03), "deep_grey": (0.83, 0.04),
        "oedema": (0.79, 0.06), "enhancing": (0.85, 0.09), "necrotic": (0.75, 0.11), "non_enhancing": (0.73, 0.09),
        "vessel": (0.85, 0.10), "blood": (1.22, 0.08), "lesion": (0.90, 0.03),
    },
    "T1ce": {
        "fluid": (0.28, 0.05), "grey": (0.73, 0.04), "white": (0.96, 0.03), "deep_grey": (0.84, 0.04),
        "oedema": (0.76, 0.06), "enhancing": (1.24, 0.11), "necrotic": (0.70, 0.11), "non_enhancing": (0.71, 0.09),
        "vessel": (1.35, 0.10), "blood": (1.28, 0.08), "lesion": (0.88, 0.03),
    },
    "T2": {
        "fluid": (1.25, 0.12), "grey": (0.62, 0.04), "white": (0.42, 0.03), "deep_grey": (0.52, 0.03),
        "oedema": (0.89, 0.11), "enhancing": (0.85, 0.12), "necrotic": (0.94, 0.22), "non_enhancing": (0.92, 0.18),
        "vessel": (0.45, 0.08), "blood": (0.40, 0.08), "lesion": (0.78, 0.08),
    },
}  # fmt: skip
# Lower bounds of a subject's means, because no tumour is as dark as healthy tissue in every sequence.
AT_LEAST: dict[str, dict[str, float]] = {
    "FLAIR": {"oedema": 0.74, "enhancing": 0.68},
    "T2": {"oedema": 0.72, "enhancing": 0.66, "necrotic": 0.74, "non_enhancing": 0.74},
}
ENHANCING_OVER_WHITE = 0.10
# Fluid inside the core and inside cysts, relative to the modality's fluid; it differs because it is rich in protein.
CORE_FLUID = {"FLAIR": 2.6, "T1": 1.35, "T1ce": 1.35, "T2": 0.97}
CYST_FLUID = {"FLAIR": 1.15, "T1": 1.15, "T1ce": 1.15, "T2": 0.97}
# How strongly a modality shows white-matter lesions and vessels.
LESION_OPACITY = {"FLAIR": 1.0, "T1": 0.5, "T1ce": 0.0, "T2": 1.0}
VESSEL_OPACITY = {"FLAIR": 0.0, "T1": 0.35, "T1ce": 1.0, "T2": 0.0}

LOW_GRADE_SEEP = (0.70, 0.95)
HIGH_GRADE_SEEP = (0.88, 1.0)
# Low-grade tumours that FLAIR shows dark and T2 bright.
MISMATCH_SHARE = 0.25
MISMATCH_FLAIR = 0.55
BLEEDING_SHARE = 0.25


@dataclass(frozen=True)
class TumourTissue:
    """Soft maps in 0..1 of the tumour's parts, shared by all modalities, and textures of mean 0 and variance 1."""

    low_grade: bool
    mismatch: bool
    oedema: Volume
    core: Volume
    enhancing: Volume
    core_fluid: Volume
    blood: Volume
    t1_texture: Volume
    t2_texture: Volume


def sample_tumour_tissue(
    rng: np.random.Generator, grid: Grid, *, labels: NDArray[np.uint8], anatomy: Anatomy, low_grade: bool
) -> TumourTissue:
    """Draw the composition of the tumour: the amounts of water, viable tumour, fluid and blood in each voxel."""
    core: Mask = labels == NCR
    # The oedema fades at its outer border, follows white matter and is denser in some places than in others.
    depth = grid.depth_mm((labels > 0) | ~anatomy.brain)
    wetness = 0.84 + 0.15 * grid.field(rng, 6.0, at_least=1.5) + 0.12 * grid.field(rng, 14.0)
    wetness += 0.10 * (anatomy.white - 0.6)
    wetness = np.clip(wetness, 0.25, 1) * np.clip(0.52 + depth / 8, 0, 1) * (labels == ED)
    seep = float(rng.uniform(*(LOW_GRADE_SEEP if low_grade else HIGH_GRADE_SEEP)))
    mismatch = bool(rng.random() < MISMATCH_SHARE) and low_grade
    bleeds = bool(rng.random() < BLEEDING_SHARE) and not low_grade
    blood = np.clip((grid.field(rng, 5.0, at_least=1.5) - 0.9) / 0.4, 0, 1) * core * bleeds
    fluid = np.clip((grid.field(rng, 8.0, at_least=2.0) - rng.uniform(0.7, 2.2)) / 0.5, 0, 1) * core

    def soft(mask: Volume | Mask, sigma_mm: float) -> Volume:
        return ndimage.gaussian_filter(mask.astype(np.float32), grid.sigma_voxels(sigma_mm, at_least=0.45))

    return TumourTissue(
        low_grade=low_grade,
        mismatch=mismatch,
        oedema=soft(wetness, 1.1),
        core=seep * soft(core, 1.0),
        enhancing=soft(labels == ET, 0.9),
        core_fluid=fluid.astype(np.float32),
        blood=blood.astype(np.float32),
        t1_texture=grid.field(rng, 2.6, at_least=1.0),
        t2_texture=grid.field(rng, 2.6, at_least=1.0),
    )


def sample_means(rng: np.random.Generator, modality: str, *, mismatch: bool = False) -> dict[str, float]:
    """Draw a subject's tissue intensities in a modality around the table's, within the bounds given there.

    Raises:
        ValueError: the modality has no table.
    """
    if modality not in CONTRAST:
        raise ValueError(f"There is no contrast table for {modality!r}: the modalities are {', '.join(MODALITIES)}.")
    table = CONTRAST[modality]
    draws = rng.standard_normal(len(table))
    means = {
        tissue: mean + spread * float(draw) for (tissue, (mean, spread)), draw in zip(table.items(), draws, strict=True)
    }
    for tissue, bound in AT_LEAST.get(modality, {}).items():
        means[tissue] = max(means[tissue], bound)
    if modality == "T1ce":
        means["enhancing"] = max(means["enhancing"], means["white"] + ENHANCING_OVER_WHITE)
    if modality == "FLAIR" and mismatch:
        means["non_enhancing"] = MISMATCH_FLAIR
    return means


def render(
    rng: np.random.Generator,
    modality: str,
    grid: Grid,
    *,
    anatomy: Anatomy,
    tumour: TumourTissue,
    confounders: Confounders,
) -> Volume:
    """Return the ideal image (X, Y, Z) of a modality: no blur, noise or bias yet.

    Tissues are mixed by volume fraction. Then each further layer is painted over the image with its opacity a:
    ``image = (1 - a) * image + a * layer``.
    """
    mean = sample_means(rng, modality, mismatch=tumour.mismatch)
    image = anatomy.fluid * mean["fluid"] + (anatomy.grey - anatomy.deep_grey) * mean["grey"]
    image += anatomy.white * mean["white"] + anatomy.deep_grey * mean["deep_grey"]
    image = _paint(image, LESION_OPACITY[modality] * confounders.white_matter_lesions, mean["lesion"])
    image = _paint(image, confounders.cysts, mean["fluid"] * CYST_FLUID[modality])
    image = _paint(image, tumour.oedema, mean["oedema"])
    texture = tumour.t1_texture if modality in ("T1", "T1ce") else tumour.t2_texture
    solid = mean["non_enhancing" if tumour.low_grade else "necrotic"]
    core = _paint(np.full(grid.size, solid, np.float32), 0.8 * tumour.core_fluid, mean["fluid"] * CORE_FLUID[modality])
    core = _paint(core * (1 + 0.10 * texture), tumour.blood, mean["blood"])
    grain = 0.6 * tumour.t1_texture + 0.6 * grid.field(rng, 0.0, at_least=1.0)
    enhancing = mean["enhancing"] * (1 + (0.16 if modality == "T1ce" else 0.09) * grain)
    rest = 1 - np.clip(tumour.core + tumour.enhancing, 0, 1)
    image = image * rest + tumour.core * core + tumour.enhancing * enhancing
    image = _paint(image, VESSEL_OPACITY[modality] * confounders.vessels, mean["vessel"])
    return (image * (1 + 0.02 * grid.field(rng, 0.0, at_least=1.0))).astype(np.float32)


def _paint(image: Volume, opacity: Volume, layer: float) -> Volume:
    return image * (1 - opacity) + opacity * layer
