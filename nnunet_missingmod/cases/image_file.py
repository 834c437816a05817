"""Reads one image file, and says what is wrong with it or was decided about its header.

``reading`` reads the files of a case by it; labels and references are compared with the grid that `read_grid` returns.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnunet_missingmod.cases import geometry, nifti, pictures
from nnunet_missingmod.cases.files import case_name
from nnunet_missingmod.cases.integrity import HeaderError, as_read, checked_header, printable, tiff_complaints
from nnunet_missingmod.cases.labels import Grid
from nnunet_missingmod.cases.memory import MemoryImage
from nnunet_missingmod.cases.unpacking import unpacked
from nnunet_missingmod.storage import read_json_object

Image = npt.NDArray[np.float32]


class ImageReader(Protocol):
    """The part of nnU-Net's reader classes that reads images."""

    def read_images(self, image_fnames: Sequence[str]) -> tuple[Image, dict[str, Any]]:
        """Return the images as channels (C, X, Y, Z) and the properties of the first."""


class ImageFile(NamedTuple):
    """A file as it was read.

    Attributes:
        image, properties: (C, X, Y, Z), and what nnU-Net's reader says of it.
        hidden_nonfinite: number of NaN and infinite voxels that the reader has already replaced by 0.
        decided: what was decided about its header.
    """

    image: Image
    properties: dict[str, Any]
    hidden_nonfinite: int
    decided: list[str]


def read_image(
    file: Path | MemoryImage, name: str, reader: ImageReader, *, transform: str, strict: bool, tolerance_voxels: float
) -> ImageFile:
    """Read one image file, or take one that is in memory.

    Args:
        name: of its modality, for messages.
        transform, tolerance_voxels: see ``nifti.read_by``.
        strict: whether a header that contradicts itself is refused.

    Raises:
        ValueError: it cannot be used; the message names file, modality and fix.
    """
    described = f"{printable(str(file))} ({name})"
    hidden = 0
    decided: list[str] = []
    try:
        if isinstance(file, MemoryImage):
            image, properties = file.read(reader)
        else:
            with unpacked(file) as plain:
                hidden, decided = checked_header(plain, strict=strict)
                if isinstance(reader, Tiff3DIO):
                    pictures.check_slices(file)
                    _check_spacing_file(file)
                with tiff_complaints() as complaints:
                    image, properties, chosen = nifti.read_by(
                        lambda path: reader.read_images([path]),
                        plain,
                        transform=transform,
                        tolerance_voxels=tolerance_voxels,
                    )
            if complaints:
                raise ValueError(f"the file is damaged: {'; '.join(complaints)}")
            decided += [chosen] if chosen else []
        try:
            geometry.check(properties)
        except HeaderError as error:
            decided += [as_read(error, strict=strict)]
        if np.isnan(image).all() or hidden == image.size:
            raise ValueError("no voxel is finite")
    except HeaderError as error:
        raise ValueError(f"{described}: {error}") from error
    except Exception as error:  # readers raise whatever their libraries raise
        reason = str(error).strip() or type(error).__name__
        raise ValueError(
            f"{described} cannot be read: {reason}. Replace the file, or remove it to predict without {name}."
        ) from error
    return ImageFile(image, properties, hidden, decided)


def spacing_file(file: Path, file_ending: str) -> Path | None:
    """Return CASE.json beside CASE_XXXX + ``file_ending``, in which a 3-D TIFF has its spacing, if it is there."""
    beside = file.with_name(f"{case_name(file, file_ending)}.json")
    return beside if beside.is_file() else None


def _check_spacing_file(file: Path) -> None:
    """Check CASE.json, in which a 3-D TIFF file CASE_XXXX.tif has its spacing; without one nnU-Net takes 1 mm.

    Raises:
        HeaderError: nnU-Net's reader would fail over it, or take something else for a spacing.
    """
    beside = spacing_file(file, file.suffix)
    if beside is None:
        return
    right = f'{printable(beside)} must hold the spacing in mm, as {{"spacing": [3.0, 1.0, 1.0]}}'
    try:
        spacing = read_json_object(beside).get("spacing")
    except ValueError as error:
        raise HeaderError(f"{right}: {error}") from error
    if beside.read_bytes().startswith(BOM_UTF8):
        raise HeaderError(f"{right}, without a byte-order mark")
    numbers = spacing if isinstance(spacing, list) else []
    if len(numbers) != 3 or not all(type(mm) in (int, float) and 0 < mm < float("inf") for mm in numbers):
        raise HeaderError(f"{right}: three numbers above 0, got {json.dumps(spacing)[:40]}")


def read_grid(
    file: Path, reader: ImageReader, *, nifti_transform: str = "as_read", tolerance_voxels: float = 0
) -> Grid:
    """Return the voxel grid of an image, to compare label maps with; its header may contradict itself.

    Raises:
        ValueError: the file cannot be read.
    """
    one = read_image(
        file, "an image", reader, transform=nifti_transform, strict=False, tolerance_voxels=tolerance_voxels
    )
    return Grid(one.image.shape[1:], one.properties)
