"""Turns an ideal image into a scan: registration error, thick slices, bias field, contrast curve, Rician noise, scale.

It is the last step of a phantom case.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nnunet_missingmod.demo.anatomy import Mask, Volume
from nnunet_missingmod.demo.grid import Grid

# Modalities are registered to T1ce, as in BraTS; the others keep a rigid error with this spread, in mm per axis.
REGISTRATION_REFERENCE = "T1ce"
REGISTRATION_SD_MM = 0.4
# Standard deviations of the in-plane blur and, at most, of the further blur across slices; shares of the slice axes.
IN_PLANE_VOXELS = (0.25, 0.45)
SLICE_MM = {"FLAIR": 2.0, "T1": 1.2, "T1ce": 1.2, "T2": 2.0}
SLICE_AXIS_SHARE = (0.12, 0.08, 0.80)
# Bias field: log amplitude and correlation length.
BIAS = (0.03, 0.12)
BIAS_MM = 55.0
GAMMA = (0.85, 1.18)
# Noise in each channel of the receiver, in units of the tissue tables.
NOISE = (0.008, 0.028)
# Arbitrary units of a scanner: factor from the tissue tables to stored whole numbers.
SCALE = (150.0, 2500.0)
DARKEST = 0.01


def acquire(rng: np.random.Generator, modality: str, grid: Grid, *, ideal: Volume, brain: Mask) -> Volume:
    """Return the scan of an ideal image (X, Y, Z): whole numbers as float32, 0 outside the brain, at least 1 inside.

    The steps, in order: rigid shift and Gaussian blur; multiplication by a smooth bias field exp(b); a power law;
    Rician noise, the magnitude of the image with Gaussian noise in both receiver channels; scaling and rounding.
    """
    shift_mm = rng.normal(0, REGISTRATION_SD_MM, 3) * (modality != REGISTRATION_REFERENCE)
    blur = np.full(3, rng.uniform(*IN_PLANE_VOXELS))
    across = int(rng.choice(3, p=SLICE_AXIS_SHARE))
    blur[across] += rng.uniform(0, SLICE_MM[modality]) / grid.spacing_mm[across]
    image = shift_and_blur(ideal, shift_voxels=shift_mm / np.array(grid.spacing_mm), sigma_voxels=blur)
    image = image * np.exp(rng.uniform(*BIAS) * grid.field(rng, BIAS_MM))
    image = np.clip(image, DARKEST, None) ** rng.uniform(*GAMMA)
    sigma = rng.uniform(*NOISE)
    real, imaginary = sigma * rng.standard_normal((2, *grid.size), dtype=np.float32)
    image = np.hypot(image + real, imaginary)
    image = np.rint(image * np.exp(rng.uniform(*np.log(SCALE))))
    return np.where(brain, np.maximum(image, 1), 0).astype(np.float32)


def shift_and_blur(image: Volume, *, shift_voxels: np.ndarray, sigma_voxels: np.ndarray) -> Volume:
    """Return the image moved by a sub-voxel shift (linear interpolation) and blurred, in one filter per axis.

    Args:
        image: (X, Y, Z).
        shift_voxels: three shifts; positive moves the content to higher indices.
        sigma_voxels: three standard deviations of the Gaussian blur.
    """
    for axis, (shift, sigma) in enumerate(zip(shift_voxels, sigma_voxels, strict=True)):
        reach = int(np.ceil(4 * sigma + abs(shift))) + 1
        offsets = np.arange(-reach, reach + 1, dtype=np.float64)
        blur = np.exp(-0.5 * (offsets / sigma) ** 2)
        weights = np.interp(offsets - shift, offsets, blur / blur.sum(), left=0, right=0)
        image = ndimage.convolve1d(image, weights, axis=axis, mode="nearest")
    return image
