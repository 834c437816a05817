"""A copy of a raw dataset on a coarser grid, so that a study of it is small enough for a CPU."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_missingmod.storage import replaced_when_complete

Pair = tuple[Path, Path]


def coarser(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Return the grid of an image with voxels of so many mm along every axis that has smaller ones, as an empty image.

    The outer borders of the two grids lie at the same place, to half a voxel.
    """
    spacing = np.maximum(image.GetSpacing(), spacing_mm)
    size = np.maximum(1, np.round(np.array(image.GetSize()) * image.GetSpacing() / spacing)).astype(int)
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection(image.GetDirection())
    # From the centre of the first voxel to its corner, and from there to the centre of the new first voxel.
    shift = (spacing - image.GetSpacing()) / 2
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)
    grid.SetOrigin((np.array(image.GetOrigin()) + direction @ shift).tolist())
    return grid


def _smoothed(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """Smooth along the axes that become coarser, with a Gaussian as wide as half of a new voxel."""
    for axis, (old, new) in enumerate(zip(image.GetSpacing(), grid.GetSpacing(), strict=True)):
        if new > old * 1.01 and image.GetSize()[axis] >= 4:
            image = sitk.RecursiveGaussian(image, sigma=new / 2, direction=axis)
    return image


def resample_image(source: Path, target: Path, *, spacing_mm: float) -> None:
    """Write an image on the coarser grid: smoothed, then interpolated linearly."""
    image = sitk.Cast(sitk.ReadImage(str(source)), sitk.sitkFloat32)
    grid = coarser(image, spacing_mm)
    _write(sitk.Resample(_smoothed(image, grid), grid, sitk.Transform(), sitk.sitkLinear), target)


def resample_labels(source: Path, target: Path, *, spacing_mm: float) -> None:
    """Write a label map on the coarser grid: in each voxel the label of the largest share."""
    labels = sitk.ReadImage(str(source))
    grid = coarser(labels, spacing_mm)
    values = np.unique(sitk.GetArrayViewFromImage(labels))
    shares = []
    for value in values:
        of_value = sitk.Cast(sitk.Equal(labels, float(value)), sitk.sitkFloat32)
        shared = sitk.Resample(_smoothed(of_value, grid), grid, sitk.Transform(), sitk.sitkLinear)
        shares.append(sitk.GetArrayFromImage(shared))
    largest = sitk.GetImageFromArray(values[np.argmax(shares, axis=0)])
    largest.CopyInformation(grid)
    _write(largest, target)


def resample_all(images: Iterable[Pair], labels: Iterable[Pair], *, spacing_mm: float, processes: int = 2) -> None:
    """Write coarser copies of (source, target) files; a copy that is there is kept."""
    with ProcessPoolExecutor(processes) as pool:
        for pairs, resample in ((images, resample_image), (labels, resample_labels)):
            missing = [(source, target) for source, target in pairs if not target.exists()]
            write = partial(resample, spacing_mm=spacing_mm)
            list(pool.map(write, [source for source, _ in missing], [target for _, target in missing]))


def _write(image: sitk.Image, target: Path) -> None:
    with replaced_when_complete(target) as temporary:
        sitk.WriteImage(image, str(temporary))
