"""Volumes as layers of the viewer: which modality one is by its name, what the model is given of it, where it lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from nnunet_missingmod import plans_block
from nnunet_missingmod.cases import geometry
from nnunet_missingmod.sequence_names import SEQUENCE_OF, SPELLINGS

ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")
# Where a layer keeps the file that it was read from, so that the model gets it with its position in space.
FILE_KEY = "nnunet_missingmod_file"

# A place of a name that has been understood; no word has such a letter.
_TAKEN = "_"
# gd, post, contrast, ...: what makes a T1ce of a T1.
_CONTRAST_AGENT = {re.sub("t1w?", "", spelling) for spelling in SPELLINGS["T1ce"].split()}

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


def given_of(layer: Any) -> Path | sitk.Image | tuple[Any, tuple[float, ...]]:
    """Return what ``Predictor.predict`` is given of a layer: its file if it was read here, else array and spacing.

    Of a file whose voxels were changed in the viewer it is an image of these voxels at the file's place.

    The spacing is how far the viewer shows neighbouring voxels apart, by whatever says so: other readers keep the size
    of a voxel in ``affine`` and leave ``scale`` at 1.

    Args:
        layer: of napari.
    """
    file, shown = layer.metadata.get(FILE_KEY), np.asarray(layer.data)
    if file is None:
        return shown, tuple(float(mm) for mm in _spacing_mm(layer))
    try:
        image = sitk.ReadImage(file)
    except RuntimeError:  # the model says what is wrong with it
        return Path(file)
    if np.array_equal(sitk.GetArrayViewFromImage(image), shown, equal_nan=True):
        return Path(file)
    if shown.shape != image.GetSize()[::-1]:
        return shown, tuple(float(mm) for mm in _spacing_mm(layer))
    changed = sitk.GetImageFromArray(shown)
    changed.CopyInformation(image)
    return changed


def place_problem(layers: Sequence[Any]) -> str | None:
    """Return which layers the viewer shows at different places although they are of one case, or None if none are.

    The distance is the largest over the corners of two layers, in voxels of the first. The places matter where a layer
    is given as an array, which has none of its own. The model itself compares files, and shapes.

    Args:
        layers: of napari, one or more.
    """
    if all(FILE_KEY in layer.metadata for layer in layers):
        return None
    tolerance = plans_block.resolve(None)["geometry_tolerance_voxels"]
    first, others = layers[0], [layer for layer in layers[1:] if layer.data.shape == layers[0].data.shape]
    corners = geometry.corner_indices(first.data.shape[: first.ndim])
    voxel = _spacing_mm(first).min()
    for layer in others:
        apart = np.linalg.norm(_world(first, corners) - _world(layer, corners), axis=1).max() / voxel
        if apart > tolerance:
            return (
                f"The layers {first.name} and {layer.name} lie differently ({apart:.3g} voxels apart), and modalities "
                "of one case lie on one grid: resample one onto the other, or put its place right if that is wrong."
            )
    return None


def _spacing_mm(layer: Any) -> npt.NDArray[np.float64]:
    """Return the length of a voxel along each axis of the array, where the viewer shows it."""
    edges = _world(layer, np.eye(layer.ndim)) - _world(layer, np.zeros((1, layer.ndim)))
    lengths: npt.NDArray[np.float64] = np.linalg.norm(edges, axis=1)
    return lengths


def _world(layer: Any, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return where the viewer shows points (N, D), which are in voxels."""
    return np.array([layer.data_to_world(point) for point in points], dtype=float)


def guess_modality(name: str, modalities: Sequence[str]) -> str | None:
    """Return the modality that a layer's name speaks of, or None if it speaks of none or of several.

    A name speaks of a modality by words that follow each other, the most words first: ``patient7_t1_ce_brain`` is a
    T1ce and no T1. Sequences that the model does not take count, too: ``t1_flair`` is none of a model of T1 and T2. A
    T1 with a word for contrast agent elsewhere (``t1_axial_gd``) may be either, so it is none. nnU-Net's suffix
    ``_0002`` is that of the third modality.

    Args:
        name: of the layer, without a file's ending.
        modalities: of the model, in channel order.
    """
    suffix = re.search(r"_([0-9]{4})$", name)
    if suffix and int(suffix[1]) < len(modalities):
        return modalities[int(suffix[1])]
    meanings = _meanings(modalities)
    words = [word for word in re.split(r"[\W_]+", name.casefold()) if word]
    spoken_of = set()
    for number in range(len(words), 0, -1):
        for start in range(len(words) - number + 1):
            found = meanings.get("".join(words[start : start + number]))
            if found is not None:
                spoken_of.add(found)
                words[start : start + number] = [_TAKEN] * number
    if len(spoken_of) != 1 or (meanings["t1"] in spoken_of and _CONTRAST_AGENT.intersection(words)):
        return None
    found = spoken_of.pop()
    return found if found in modalities else None


def _meanings(modalities: Sequence[str]) -> dict[str, str]:
    """Return {spelling: the modality, or the sequence where it is that of none or of several modalities}."""
    of_sequence: dict[str, list[str]] = {}
    for modality in modalities:
        of_sequence.setdefault(SEQUENCE_OF.get(_plain(modality), ""), []).append(modality)
    known = {}
    for spelling, sequence in SEQUENCE_OF.items():
        own = of_sequence.get(sequence, [])
        known[spelling] = own[0] if len(own) == 1 else f"the sequence {sequence}"
    return {**known, **{_plain(modality): modality for modality in modalities}}


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())
