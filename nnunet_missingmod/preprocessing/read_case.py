"""From the files of one case to an array (J, X, Y, Z) in which absent modalities are marked."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nnunet_missingmod import absence
from nnunet_missingmod.preprocessing import geometry
from nnunet_missingmod.preprocessing.case_files import CaseRefusedError, describe_channels
from nnunet_missingmod.preprocessing.file_integrity import count_hidden_nonfinite, tiff_complaints

logger = logging.getLogger(__name__)

Image = npt.NDArray[np.float32]


class RawCase(NamedTuple):
    """What was read of one case.

    Attributes:
        data: (J, X, Y, Z), float32; absent channels hold the absence mark.
        properties: of the first file present, for nnU-Net's exporter.
        replaced: {name: number} of the NaN and infinite voxels that the reader has already replaced by 0.
        distances_voxels: {name: distance} of modalities whose grid differs from the first's, within the tolerance.
    """

    data: Image
    properties: dict[str, Any]
    replaced: dict[str, int]
    distances_voxels: dict[str, float]


class ImageReader(Protocol):
    """What is needed of nnU-Net's reader classes."""

    def read_images(self, image_fnames: Sequence[str]) -> tuple[Image, dict[str, Any]]:
        """Return the images as channels (C, X, Y, Z) and the properties of the first."""


def read_case(
    files: Mapping[int, Path],
    names: Sequence[str],
    reader: ImageReader,
    *,
    case: str,
    file_ending: str,
    geometry_tolerance_voxels: float,
) -> RawCase:
    """Read the files of a case into an array (J, X, Y, Z), float32, whose absent channels hold the absence mark.

    A single file ``_0000`` that holds all J channels (an RGB image) is a complete case, as in nnU-Net.

    Args:
        files: {channel: file}, as ``assign_channels`` returns it; at least one.
        names: the J modality names in channel order.
        geometry_tolerance_voxels: see ``geometry.distance_voxels``.

    Raises:
        CaseRefusedError: a file is truncated, damaged, not an image or has several channels, or two files differ in
            shape, spacing, origin or direction.
    """
    images: dict[int, Image] = {}
    properties: dict[int, dict[str, Any]] = {}
    replaced: dict[str, int] = {}
    distances: dict[str, float] = {}
    for channel, file in files.items():
        images[channel], properties[channel], hidden = _read_image(file, names[channel], reader, case)
        if hidden:
            replaced[names[channel]] = hidden

    first = next(iter(files))
    if list(files) == [0] and len(images[0]) == len(names):
        return RawCase(images[0], properties[0], replaced, distances)
    for channel, file in files.items():
        if len(images[channel]) != 1:
            raise CaseRefusedError(
                case,
                f"{file.name} ({names[channel]}) holds {len(images[channel])} channels, one is expected. "
                f"Save each modality as its own file: {describe_channels(names, file_ending)}.",
            )
        apart = _check_same_grid(
            images[first].shape[1:],
            images[channel].shape[1:],
            properties[first],
            properties[channel],
            described=(f"{files[first].name} ({names[first]})", f"{file.name} ({names[channel]})"),
            tolerance_voxels=geometry_tolerance_voxels,
            case=case,
        )
        if apart > 0:
            distances[names[channel]] = apart
    data = np.full((len(names), *images[first].shape[1:]), absence.ABSENT, dtype=np.float32)
    for channel, image in images.items():
        data[channel] = image[0]
    return RawCase(data, properties[first], replaced, distances)


def admit(
    data: Image,
    names: Sequence[str],
    *,
    case: str,
    blank_is_absent: bool,
    nonfinite: str,
    replaced: Mapping[str, int] | None = None,
) -> tuple[absence.BoolArray, dict[str, Any]]:
    """Decide which channels of a raw case (J, X, Y, Z) are present, and make those finite, in place.

    A channel that is NaN in every voxel carries the absence mark. With ``blank_is_absent`` so does one whose voxels
    all have one value. Other NaN or infinite voxels are refused, or become 0 with ``nonfinite="zero"``.

    Args:
        replaced: {name: number} of such voxels that the reader has already set to 0; they are judged alike.

    Returns:
        ``present`` (J,) and a report for the case's properties: the names present, the names blank, and
        {name: number of voxels set to 0}.

    Raises:
        CaseRefusedError: no channel is present, or one has NaN or infinite voxels.
    """
    present = np.ones(len(data), dtype=bool)
    blank, zeroed = [], {}
    for channel, (image, name) in enumerate(zip(data, names, strict=True)):
        finite = np.isfinite(image)
        if not finite.any() and np.isnan(image).all():
            present[channel] = False
            continue
        count = max(int(image.size - finite.sum()), (replaced or {}).get(name, 0))
        if count:
            if nonfinite == "refuse":
                raise CaseRefusedError(
                    case,
                    f"{name} has {count} NaN or infinite voxels of {image.size}. Mend the file, or set "
                    '"nonfinite": "zero" in the plans\' "missingmod" block to replace them by 0.',
                )
            image[~finite] = 0
            zeroed[name] = count
            logger.warning("Case %r: %d NaN or infinite voxels of %s were set to 0.", case, count, name)
        if blank_is_absent and image.min() == image.max():
            present[channel] = False
            blank.append(name)
            logger.warning(
                "Case %r: %s is blank (every voxel is %g) and counts as absent.", case, name, float(image.flat[0])
            )
    if not present.any():
        reason = f"{', '.join(blank)} blank, the others absent" if blank else "no modality is present"
        raise CaseRefusedError(case, f"{reason}. Give at least one of: {', '.join(names)}.")
    report = {
        "present": [name for name, there in zip(names, present, strict=True) if there],
        "blank": blank,
        "nonfinite_zeroed": zeroed,
    }
    return present, report


def _read_image(file: Path, name: str, reader: ImageReader, case: str) -> tuple[Image, dict[str, Any], int]:
    try:
        hidden_nonfinite = count_hidden_nonfinite(file)
        with tiff_complaints() as complaints:
            image, properties = reader.read_images([str(file)])
        if complaints:
            raise ValueError(f"the file is damaged: {'; '.join(complaints)}")
        if np.isnan(image).all() or hidden_nonfinite == image.size:
            raise ValueError("no voxel is finite")
    except Exception as error:  # readers raise whatever their libraries raise
        reason = str(error).strip() or type(error).__name__
        raise CaseRefusedError(
            case, f"{file} ({name}) cannot be read: {reason}. Replace the file, or remove it to predict without {name}."
        ) from error
    return image, properties, hidden_nonfinite


def _check_same_grid(
    shape: Sequence[int],
    other_shape: Sequence[int],
    properties: Mapping[str, Any],
    other_properties: Mapping[str, Any],
    *,
    described: tuple[str, str],
    tolerance_voxels: float,
    case: str,
) -> float:
    """Return how many voxels the two grids are apart, which is within the tolerance."""
    apart = float("inf")
    if tuple(shape) == tuple(other_shape):
        apart = geometry.distance_voxels(shape, properties, other_properties)
    if apart > tolerance_voxels:
        raise CaseRefusedError(
            case,
            f"two modalities lie on different voxel grids ({apart:.3g} voxels apart). "
            f"{described[0]}: {geometry.describe(shape, properties)}; "
            f"{described[1]}: {geometry.describe(other_shape, other_properties)}. Resample one onto the other, or, if "
            'only the header is wrong, raise "geometry_tolerance_voxels" in the plans\' "missingmod" block.',
        )
    return apart
