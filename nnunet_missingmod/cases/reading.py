"""Reads the files of one case into an array (J, X, Y, Z) in which absent modalities are marked.

The files are read and compared with each other (`read_files`, `read_case`). Then each channel is judged to be present,
blank or refused (`judge_channel`, `judge_channels`). The preprocessor, the fingerprint and the checks before
prediction use it.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnunet_missingmod import absence
from nnunet_missingmod.cases import geometry, pictures
from nnunet_missingmod.cases.files import CaseRefusedError, describe_channels
from nnunet_missingmod.cases.image_file import Image, ImageReader, read_image
from nnunet_missingmod.cases.integrity import printable
from nnunet_missingmod.cases.memory import MemoryImage

logger = logging.getLogger(__name__)

_FLAT = "{} has two dimensions, but the model works on volumes. Give the whole volume."
# Names by which datasets of colour pictures are known, one file of which holds all channels.
_COLOURS = ({"r", "g", "b"}, {"red", "green", "blue"})


class RawCase(NamedTuple):
    """One case as it was read.

    Attributes:
        data: (J, X, Y, Z), float32; absent channels hold the absence mark.
        properties: of the first present file, for nnU-Net's exporter.
        replaced: {name: number} of the NaN and infinite voxels that the reader has already replaced by 0.
        distances_voxels: {name: distance} of the modalities whose grid differs from the first file's, within the
            tolerance.
        headers: {name: what was decided about a header that contradicts itself}.
        copies: {name: other name} of the modalities whose voxels are all those of an earlier modality.
    """

    data: Image
    properties: dict[str, Any]
    replaced: dict[str, int]
    distances_voxels: dict[str, float]
    headers: dict[str, str]
    copies: dict[str, str]


class ReadFiles(NamedTuple):
    """The readable files of a case, and all problems with its files.

    Attributes:
        images, properties: {channel: (C, X, Y, Z)} and {channel: nnU-Net's properties} of the files that could be read.
        replaced, distances_voxels, headers, copies: see ``RawCase``.
        problems: sentences that name the file, the modality and the fix; empty if there is no problem.
    """

    images: dict[int, Image]
    properties: dict[int, dict[str, Any]]
    replaced: dict[str, int]
    distances_voxels: dict[str, float]
    headers: dict[str, str]
    copies: dict[str, str]
    problems: list[str]


def read_files(
    files: Mapping[int, Path | MemoryImage],
    names: Sequence[str],
    reader: ImageReader,
    *,
    file_ending: str,
    geometry_tolerance_voxels: float,
    volumes_only: bool = False,
    nifti_transform: str = "refuse",
    headers: str = "strict",
) -> ReadFiles:
    """Read all readable files of a case, and collect the problems with its files.

    A single file ``_0000`` that holds all J channels (an RGB image) is a complete case, as in nnU-Net.

    Args:
        files: {channel: file}, as ``assign_channels`` returns it; at least one. Images in memory may be among them.
        names: the J modality names in channel order.
        geometry_tolerance_voxels: see ``geometry.distance_voxels``.
        volumes_only: whether images of two dimensions are refused, because the network is three-dimensional.
        nifti_transform: see ``nifti.read_by``.
        headers: ``strict``, or ``as_read`` to take headers that contradict themselves as the reader does.
    """
    read = ReadFiles({}, {}, {}, {}, {}, {}, [])
    for channel, file in files.items():
        name = names[channel]
        try:
            found = read_image(
                file,
                name,
                reader,
                transform=nifti_transform,
                strict=headers == "strict",
                tolerance_voxels=geometry_tolerance_voxels,
            )
        except ValueError as error:
            read.problems.append(str(error))
            continue
        read.images[channel], read.properties[channel] = found.image, found.properties
        if found.hidden_nonfinite:
            read.replaced[name] = found.hidden_nonfinite
        if found.decided:
            read.headers[name] = "; ".join(found.decided)
    if list(files) == [0] and len(read.images.get(0, ())) == len(names) and geometry.is_volume(read.properties[0]):
        if volumes_only and geometry.is_flat(read.properties[0]):
            read.problems.append(_FLAT.format(f"{printable(files[0].name)} ({', '.join(names)})"))
        return read
    if list(read.images) == [0] == list(files) and len(read.images[0]) == 1 and _is_grey_for_colours(files[0], names):
        read.problems.append(
            f"{printable(files[0].name)} is a grey picture, but {', '.join(names)} are those of one picture in colour. "
            "Save it as RGB."
        )
        return read
    first: int | None = None
    for channel, image in read.images.items():
        described = f"{printable(files[channel].name)} ({names[channel]})"
        num_values = image.shape[-1] if geometry.has_vectors(read.properties[channel]) else len(image)
        if num_values != 1:
            read.problems.append(
                f"{described} holds {num_values} channels, "
                f"{_fix_of_channels(files[channel], num_values, names, file_ending)}"
            )
            continue
        if not geometry.is_volume(read.properties[channel]):
            read.problems.append(f"{described} has more than three dimensions. Save its volume as a 3-D image.")
            continue
        if volumes_only and geometry.is_flat(read.properties[channel]):
            read.problems.append(_FLAT.format(described))
        if first is None:
            first = channel
        one, other = ((read.images[c].shape[1:], read.properties[c]) for c in (first, channel))
        apart = geometry.distance_voxels(one[0], one[1], other[1]) if one[0] == other[0] else float("inf")
        if apart > geometry_tolerance_voxels:
            distance = f" ({apart:.3g} voxels apart)" if math.isfinite(apart) else ""
            read.problems.append(
                f"two modalities lie on different voxel grids{distance}. "
                f"{printable(files[first].name)} ({names[first]}): {geometry.describe(*one)}; "
                f"{described}: {geometry.describe(*other)}. "
                f"{_fix_of_grids([files[first], files[channel]], is_measured=bool(distance))}"
            )
        elif apart > 0:
            read.distances_voxels[names[channel]] = apart
    read.copies.update(_copies({names[channel]: image for channel, image in read.images.items()}))
    return read


def _fix_of_grids(images: Sequence[Path | MemoryImage], *, is_measured: bool) -> str:
    if not is_measured:
        return "Resample one onto the other."
    if any(isinstance(image, MemoryImage) for image in images):
        return "Resample one onto the other; an array lies at the origin, so give all as arrays, or none."
    return (
        "Resample one onto the other, or, if only the header is wrong, raise "
        '"geometry_tolerance_voxels" in the plans\' "missingmod" block (predict: --geometry-tolerance).'
    )


def _is_grey_for_colours(file: Path | MemoryImage, names: Sequence[str]) -> bool:
    """Whether a picture of one channel is given where the channels' names are those of one picture in colour."""
    folded = [name.casefold() for name in names]
    are_colours = set(folded) in _COLOURS or (len(names) > 1 and all(name.startswith("rgb_") for name in folded))
    return are_colours and file.suffix.lower() in pictures.ENDINGS


def _fix_of_channels(file: Path | MemoryImage, number: int, names: Sequence[str], file_ending: str) -> str:
    if file.suffix.lower() not in pictures.ENDINGS or number not in (3, 4):
        return f"one is expected. Save each modality as its own file: {describe_channels(names, file_ending)}."
    if number == 4 and len(names) == 3:
        return "a picture in colour has 3. Save it as RGB, without an alpha channel."
    return (
        f"a grey picture has one. Save each modality in grey, as its own file: {describe_channels(names, file_ending)}."
    )


def _copies(images: Mapping[str, Image]) -> dict[str, str]:
    """Return {name: other} of the images whose voxels are all those of an earlier one; blank ones are none."""
    first: dict[bytes, str] = {}
    copies = {}
    for name, image in images.items():
        digest = hashlib.sha256(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        other = first.setdefault(digest.digest(), name)
        if other != name and image.min() != image.max():
            copies[name] = other
    return copies


def read_case(
    files: Mapping[int, Path | MemoryImage],
    names: Sequence[str],
    reader: ImageReader,
    *,
    case: str,
    file_ending: str,
    geometry_tolerance_voxels: float,
    volumes_only: bool = False,
    nifti_transform: str = "refuse",
    headers: str = "strict",
) -> RawCase:
    """Read the files of a case into an array (J, X, Y, Z), float32, whose absent channels hold the absence mark.

    The arguments are those of ``read_files``.

    Raises:
        CaseRefusedError: a file is truncated, damaged, not an image or holds several channels, or modalities differ in
            shape, spacing, origin or direction. The message lists all problems.
    """
    read = read_files(
        files,
        names,
        reader,
        file_ending=file_ending,
        geometry_tolerance_voxels=geometry_tolerance_voxels,
        volumes_only=volumes_only,
        nifti_transform=nifti_transform,
        headers=headers,
    )
    if read.problems:
        raise CaseRefusedError(case, " ".join(read.problems))
    first = next(iter(files))
    data = read.images[first]
    if len(data) == 1:
        data = np.full((len(names), *data.shape[1:]), absence.ABSENT, dtype=np.float32)
        for channel, image in read.images.items():
            data[channel] = image[0]
    for name, other in read.copies.items():
        logger.warning("Case %r: %s holds the same voxels as %s. Check that it is the right file.", case, name, other)
    for name, decided in read.headers.items():
        logger.warning("Case %r: %s: %s.", case, name, decided)
    return RawCase(data, read.properties[first], read.replaced, read.distances_voxels, read.headers, read.copies)


class Judgement(NamedTuple):
    """The decision about one channel of a raw case.

    Attributes:
        present: whether it counts as present.
        blank: whether all its voxels have one value, so that it counts as absent.
        zeroed: number of NaN and infinite voxels that become 0.
        problem: if the channel is refused, a sentence that names the modality and the fix; else None.
    """

    present: bool
    blank: bool = False
    zeroed: int = 0
    problem: str | None = None


def judge_channel(image: Image, name: str, *, blank_is_absent: bool, nonfinite: str, replaced: int = 0) -> Judgement:
    """Decide whether a channel (X, Y, Z) of a raw case is present, blank, or refused for its NaN or infinite voxels.

    A channel that is NaN in every voxel has the absence mark. With ``blank_is_absent``, a channel whose voxels all have
    one value is blank. Other NaN or infinite voxels are refused; with ``nonfinite="zero"`` they become 0.

    Args:
        replaced: number of NaN and infinite voxels that the reader has already set to 0; they are treated alike.
    """
    finite = np.isfinite(image)
    if not finite.any() and np.isnan(image).all():
        return Judgement(present=False)
    count = max(int(image.size - finite.sum()), replaced)
    if count and nonfinite == "refuse":
        return Judgement(
            present=True,
            problem=f"{name} has {count} NaN or infinite voxels of {image.size}. Mend the file, or set "
            '"nonfinite": "zero" in the plans\' "missingmod" block (predict: --nonfinite zero) to replace them by 0.',
        )
    # Voxels that are not finite become 0, so a channel that has some is blank if all its other voxels are 0.
    values = np.where(finite, image, 0) if count else image
    blank = blank_is_absent and bool(values.min() == values.max())
    return Judgement(present=not blank, blank=blank, zeroed=count)


def judge_channels(
    data: Image,
    names: Sequence[str],
    *,
    case: str,
    blank_is_absent: bool,
    nonfinite: str,
    replaced: Mapping[str, int] | None = None,
) -> tuple[absence.BoolArray, dict[str, Any]]:
    """Decide by `judge_channel` which channels of a raw case (J, X, Y, Z) are present; make those finite, in place.

    Args:
        replaced: {name: number} of NaN and infinite voxels that the reader has already set to 0.

    Returns:
        ``present`` (J,) and a report for the case's properties: the names of present modalities, the names of blank
        ones, and {name: number of voxels set to 0}.

    Raises:
        CaseRefusedError: no channel is present, or some have NaN or infinite voxels.
    """
    present = np.ones(len(data), dtype=bool)
    blank, zeroed, problems = [], {}, []
    for channel, (image, name) in enumerate(zip(data, names, strict=True)):
        judged = judge_channel(
            image, name, blank_is_absent=blank_is_absent, nonfinite=nonfinite, replaced=(replaced or {}).get(name, 0)
        )
        present[channel] = judged.present
        if judged.problem:
            problems.append(judged.problem)
            continue
        if judged.zeroed:
            image[~np.isfinite(image)] = 0
            zeroed[name] = judged.zeroed
            logger.warning("Case %r: %d NaN or infinite voxels of %s were set to 0.", case, judged.zeroed, name)
        if judged.blank:
            blank.append(name)
            logger.warning(
                "Case %r: %s is blank (every voxel is %g) and counts as absent.", case, name, float(image.flat[0])
            )
    if problems:
        raise CaseRefusedError(case, " ".join(problems))
    if not present.any():
        reason = f"{', '.join(blank)} blank, the others absent" if blank else "no modality is present"
        raise CaseRefusedError(case, f"{reason}. Give at least one of: {', '.join(names)}.")
    report = {
        "present": [name for name, there in zip(names, present, strict=True) if there],
        "blank": blank,
        "nonfinite_zeroed": zeroed,
    }
    return present, report
