"""Volumes as layers of the viewer, which modality a layer is by its name, and what the model is given of a layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from nnunet_missingmod.sequence_names import SEQUENCE_OF

ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")
# Where a layer keeps the file that it was read from, so that the model gets it with its position in space.
FILE_KEY = "nnunet_missingmod_file"

LayerData = tuple[Any, dict[str, Any], str]


def find_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return what reads these files for napari, or None if one is of another format."""
    files = [path] if isinstance(path, str) else path
    return read_volumes if all(file.lower().endswith(ENDINGS) for file in files) else None


def read_volumes(path: str | list[str]) -> list[LayerData]:
    """Return a layer for each file: its array, where it lies along its own axes in mm, and its name without ending."""
    return [_read(Path(file)) for file in ([path] if isinstance(path, str) else path)]


def _read(file: Path) -> LayerData:
    image = sitk.ReadImage(str(file))
    ending = next(ending for ending in ENDINGS if file.name.lower().endswith(ending))
    described = {
        "name": file.name[: -len(ending)],
        "scale": image.GetSpacing()[::-1],
        "metadata": {FILE_KEY: str(file.absolute())},
    }
    return sitk.GetArrayFromImage(image), described, "image"


def given_of(data: Any, scale: Sequence[float], metadata: Mapping[str, Any]) -> Path | tuple[Any, tuple[float, ...]]:
    """Return what ``Predictor.predict`` is given of a layer: its file if it was read here, else array and spacing."""
    file = metadata.get(FILE_KEY)
    return Path(file) if file else (np.asarray(data), tuple(float(mm) for mm in scale))


def guess_modality(name: str, modalities: Sequence[str]) -> str | None:
    """Return the modality that a layer's name speaks of, or None if it speaks of none or of several.

    A name speaks of a modality by its last words, read together or alone: ``patient7_t1_ce``, ``BraTS-00001-t2f``.
    nnU-Net's suffix ``_0002`` is that of the third one.

    Args:
        name: of the layer, without a file's ending.
        modalities: of the model, in channel order.
    """
    suffix = re.search(r"_([0-9]{4})$", name)
    if suffix and int(suffix[1]) < len(modalities):
        return modalities[int(suffix[1])]
    words = [word for word in re.split(r"[\W_]+", name.casefold()) if word]
    of_spelling = {_plain(modality): modality for modality in modalities}
    of_sequence = {SEQUENCE_OF.get(_plain(modality)): modality for modality in modalities}

    def spoken_of(spelling: str) -> str | None:
        return of_spelling.get(spelling) or (
            of_sequence.get(SEQUENCE_OF[spelling]) if spelling in SEQUENCE_OF else None
        )

    for number in range(len(words) - 1):  # the longest end first: t1_ce is no T1
        if found := spoken_of("".join(words[number:])):
            return found
    alone = {spoken_of(word) for word in words} - {None}
    return alone.pop() if len(alone) == 1 else None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())
