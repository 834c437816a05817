"""The images of one case by the names of their modalities: what ``Predictor`` and ``predict --image`` are given."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import SimpleITK as sitk

from nnunet_missingmod.cases.memory import MemoryImage, SpacedArray
from nnunet_missingmod.modalities import channel_called

NamedImage: TypeAlias = str | os.PathLike[str] | sitk.Image | SpacedArray | MemoryImage

# Shorter starts of file names (t, T1, p1) are those of other patients' files too.
_SHORTEST_NAME = 3


def assign_names(images: Mapping[str, NamedImage], names: Sequence[str]) -> dict[int, Path | MemoryImage]:
    """Return {channel: image} in channel order.

    A name is that of a channel, in whatever case if no other channel differs from it by that alone. Give an image that
    holds all J channels (RGB) as the file of the first channel, as in nnU-Net.

    Raises:
        ValueError: the case is no mapping, a name is not that of a channel or may be that of several, two names are
            those of one channel or have the same image, there is no image, or one is neither a path nor an image.
    """
    listed = ", ".join(names)
    if not isinstance(images, Mapping):
        example = f'{{"{names[0]}": "scan.nii.gz"}}'
        raise ValueError(f"A case is {{modality: image}}, as {example}; got {type(images).__name__}.")
    if not images:
        raise ValueError(f"No modality is given. Give at least one of: {listed}.")
    given: dict[int, str] = {}
    for name in images:
        channel = _channel_of(name, names)
        if channel in given:
            raise ValueError(f"{given[channel]!r} and {name!r} are both {names[channel]}. Give it once.")
        given[channel] = name
    files = {channel: _as_source(images[name], name) for channel, name in sorted(given.items())}
    first: dict[Any, int] = {}
    for channel, file in files.items():
        other = first.setdefault(file.resolve() if isinstance(file, Path) else id(images[given[channel]]), channel)
        if other != channel:
            raise ValueError(f"{file} is given as {names[other]} and as {names[channel]}. Give each modality its own.")
    return files


def assign_each(
    cases: Iterable[Mapping[str, NamedImage]], names: Sequence[str]
) -> Iterator[dict[int, Path | MemoryImage] | Exception]:
    """Yield for each case what `assign_names` returns or raises; arrays are copied before the next one is asked for."""
    for images in cases:
        try:
            yield assign_names(images, names)
        except Exception as error:  # of this case alone
            yield error


def _channel_of(name: str, names: Sequence[str]) -> int:
    if isinstance(name, str) and (channel := channel_called(name, names)) is not None:
        return channel
    folded = [each.casefold() for each in names]
    near = difflib.get_close_matches(str(name).casefold(), folded, n=1)
    suggestion = f" Did you mean {names[folded.index(near[0])]!r}?" if near else ""
    raise ValueError(f"The model has no modality {name!r}.{suggestion} Its modalities are: {', '.join(names)}.")


def _as_source(image: NamedImage, name: str) -> Path | MemoryImage:
    if isinstance(image, MemoryImage):
        return image
    if isinstance(image, str | os.PathLike):
        return Path(image)
    try:
        return MemoryImage(image)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def common_name(images: Sequence[Path | MemoryImage], names: Sequence[str] = ()) -> str:
    """Return a name for the case of some files that tells it from other patients' cases.

    It is what the file names have in common, up to a separator. If that is short, a modality's name or the start of
    UIDs, which other patients' files have as well, it is the name of the folder that holds the files. Where no image is
    a file, it is ``case``.

    Args:
        images: of the case.
        names: of the model's modalities.
    """
    files = [image for image in images if isinstance(image, Path)]
    if not files:
        return "case"
    plain = [re.sub(r"(?i:\.nii|\.gipl)?\.[a-zA-Z]\w*$", "", file.name) for file in files]
    stems = [re.sub(r"_[0-9]{4}$", "", stem) for stem in plain]
    shared = os.path.commonprefix(stems)  # noqa: RUF071 - letter by letter is meant
    if any(re.match(r"[^_\-. ]", stem[len(shared) :]) for stem in stems):
        # The last word is that of a modality, T1 or T1ce, though its start is shared.
        shared = re.sub(r"(^|[_\-. ])[^_\-. ]*$", "", shared)
        is_of_one_case = re.fullmatch(r"[0-9]+(\.[0-9]+)+", shared) is None
    else:
        is_told_by_folder = len(set(plain)) < len(plain) or shared.casefold() in [name.casefold() for name in names]
        is_of_one_case = stems != plain or not is_told_by_folder
    is_short = len(shared) < _SHORTEST_NAME and stems == plain
    if shared and is_of_one_case and not is_short:
        return shared
    folder = Path(os.path.commonpath([file.absolute().parent for file in files]))
    return folder.name or shared or "case"
