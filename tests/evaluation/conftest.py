from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk


@pytest.fixture
def write_volume(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an array (Z, Y, X) as an image below tmp_path."""

    def write(name: str, array: np.ndarray, spacing_mm=(1.0, 1.0, 1.0), direction=None) -> Path:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(tuple(reversed(spacing_mm)))
        if direction is not None:
            image.SetDirection(direction)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(path))
        return path

    return write
