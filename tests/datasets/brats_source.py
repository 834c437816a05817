"""A BraTS folder made on the spot, in the naming of any year."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

SUFFIXES = {
    "old": {"FLAIR": "_flair", "T1": "_t1", "T1ce": "_t1ce", "T2": "_t2", "seg": "_seg"},
    "new": {"FLAIR": "-t2f", "T1": "-t1n", "T1ce": "-t1c", "T2": "-t2w", "seg": "-seg"},
}
SHAPE = (3, 4, 5)
# What the voxels of each modality are, so that a file tells where it came from.
VALUES = {"FLAIR": 10, "T1": 20, "T1ce": 30, "T2": 40}


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetOrigin((0.0, -239.0, 0.0))
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a case of a BraTS folder; ``labels`` are the values its segmentation holds."""

    def make(
        case: str,
        *,
        naming: str = "old",
        modalities: tuple[str, ...] = ("FLAIR", "T1", "T1ce", "T2"),
        labels: tuple[float, ...] | None = (0, 1, 2, 4),
        ending: str = ".nii.gz",
        dtype: type = np.int16,
        folder: str = "source",
        shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Path:
        root = tmp_path / folder
        for modality in modalities:
            shape = (shapes or {}).get(modality, SHAPE)
            name = f"{case}{SUFFIXES[naming][modality]}{ending}"
            write(root / case / name, np.full(shape, VALUES[modality], dtype))
        if labels is not None:
            voxels = np.resize(np.asarray(labels, dtype), SHAPE)
            write(root / case / f"{case}{SUFFIXES[naming]['seg']}{ending}", voxels)
        return root

    return make
