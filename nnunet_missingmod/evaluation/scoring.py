"""All metrics of one case: its reference is prepared once, then every subset's prediction is scored against it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan, prod
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.label_maps import LabelFile as LabelFile
from nnunet_missingmod.evaluation.label_maps import ReadLabels, check_same_grid, read_label_map, relabelled
from nnunet_missingmod.evaluation.label_maps import as_label_map as as_label_map
from nnunet_missingmod.evaluation.lesions import lesion_score
from nnunet_missingmod.evaluation.metrics import (
    DEFAULT_TOLERANCE_MM,
    LabelMap,
    Mask,
    Surface,
    bounding_box,
    dice,
    region_mask,
    surface_scores,
)

UNCOUNTED = -1
"""In place of the numbers of lesions and of their Dice where lesions were not counted."""


@dataclass(frozen=True)
class RegionScore:
    """The raw measurements of one region of one prediction, before any convention on empty masks.

    ``dice`` and ``nsd`` are in 0..1; ``hd95_mm`` in mm. Both masks empty: all three are NaN. One empty: 0, 0, infinite.
    ``diagonal_mm`` is that of the image, which some conventions put in place of an infinite distance. ``voxel_mm3`` is
    the volume of a voxel, NaN in a picture of two axes. The numbers of lesions, those matched among them, and the mean
    Dice of matched ones are those of `LesionScore`; `UNCOUNTED` where lesions were not asked for.
    """

    dice: float
    hd95_mm: float
    nsd: float
    nsd_tolerance_mm: float
    reference_voxels: int
    predicted_voxels: int
    diagonal_mm: float
    voxel_mm3: float = nan
    reference_lesions: int = UNCOUNTED
    predicted_lesions: int = UNCOUNTED
    matched_lesions: int = UNCOUNTED
    lesion_dice: float = float(UNCOUNTED)


class CaseScorer:
    """Scores label maps of one case against its reference, on the reference's grid.

    Everything outside of the smallest box around both label maps is left out, since it is empty in both. An instance
    only reads what it holds, so that threads may share it.
    """

    def __init__(
        self,
        reference: LabelMap,
        spacing_mm: Sequence[float],
        regions: Mapping[str, Sequence[int]],
        *,
        ignore_label: int | None = None,
        tolerance_mm: float = DEFAULT_TOLERANCE_MM,
        lesions: bool = False,
    ) -> None:
        """Prepare a reference: integers, its axes those of ``spacing_mm`` (an image that SimpleITK reads: Z Y X).

        Voxels at which it holds ``ignore_label`` do not count, whatever is predicted there. With ``lesions``, these are
        counted and matched too.

        Raises:
            ValueError: there are no regions, or as `Surface` and `surface_scores`.
        """
        if not regions:
            raise ValueError("There are no regions to score: see dataset_regions.")
        self._reference = reference
        self._spacing_mm = tuple(float(step) for step in spacing_mm)
        self._regions = {name: tuple(labels) for name, labels in regions.items()}
        self._foreground = sorted({label for labels in self._regions.values() for label in labels})
        self._ignore_label = ignore_label
        self._tolerance_mm = float(tolerance_mm)
        self._lesions = lesions
        self._bounds = bounding_box(region_mask(reference, self._foreground))
        window = _slices(self._bounds)
        self._masks = {name: self._mask(reference, labels, window) for name, labels in self._regions.items()}
        self._surfaces = {name: self._surface(mask, self._bounds) for name, mask in self._masks.items()}
        self._voxel_mm3 = prod(self._spacing_mm) if len(self._spacing_mm) == 3 else nan
        self._diagonal_mm = float(np.linalg.norm(np.multiply(reference.shape, self._spacing_mm)))
        surface_scores(*[next(iter(self._surfaces.values()))] * 2, tolerance_mm=self._tolerance_mm)

    def score(self, prediction: LabelMap) -> dict[str, RegionScore]:
        """Return the measurements of every region of a predicted label map.

        Raises:
            ValueError: its shape is not the reference's.
        """
        if prediction.shape != self._reference.shape:
            raise ValueError(
                f"Label maps of one shape are compared, got {prediction.shape} and {self._reference.shape}."
            )
        bounds = _union(bounding_box(region_mask(prediction, self._foreground)), self._bounds)
        window = _slices(bounds)
        scores = {}
        for name, labels in self._regions.items():
            predicted = self._mask(prediction, labels, window)
            reference = self._mask(self._reference, labels, window)
            hd95_mm, nsd = surface_scores(
                self._surface(predicted, bounds), self._surfaces[name], tolerance_mm=self._tolerance_mm
            )
            scores[name] = RegionScore(
                dice=dice(predicted, reference, both_empty="nan"),
                hd95_mm=hd95_mm,
                nsd=nsd,
                nsd_tolerance_mm=self._tolerance_mm,
                reference_voxels=int(np.count_nonzero(reference)),
                predicted_voxels=int(np.count_nonzero(predicted)),
                diagonal_mm=self._diagonal_mm,
                voxel_mm3=self._voxel_mm3,
                **(_lesions(predicted, reference) if self._lesions else {}),
            )
        return scores

    def _mask(self, labels: LabelMap, region: Sequence[int], window: tuple[slice, ...]) -> Mask:
        counted = None if self._ignore_label is None else self._reference[window] != self._ignore_label
        return region_mask(labels[window], region, counted=counted)

    def _surface(self, mask: Mask, bounds: NDArray[Any]) -> Surface:
        return Surface(mask, self._spacing_mm, origin=bounds[0])


Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class CaseScores(Generic[Key]):
    """What became of the predictions of one case, each under the key that it was given by.

    Attributes:
        scores: {key: {region: measurements}} of those that could be scored.
        refused: {key: why not} of the others.
    """

    scores: dict[Key, dict[str, RegionScore]]
    refused: dict[Key, str]


def score_files(
    predictions: Mapping[Key, Path],
    reference: Path,
    regions: Mapping[str, Sequence[int]],
    *,
    case: str,
    ignore_label: int | None = None,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    lesions: bool = False,
    read: ReadLabels | None = None,
    new_labels: Mapping[int, int] | None = None,
) -> CaseScores[Key]:
    """Score files of one case against its reference, which is read and prepared once.

    A file that is missing or unreadable, holds no labels, or lies on another grid than the reference is refused, with
    the reason, and costs no other. A reference that cannot be read costs them all.

    Args:
        predictions: label maps, by whatever tells them apart: a subset, or a model and a subset.
        reference: label map.
        regions: {name: labels that it holds}.
        case: its name, for messages.
        ignore_label: voxels at which the reference holds it do not count.
        tolerance_mm: of the surface Dice.
        lesions: whether lesions are counted and matched, too, which needs panoptica.
        read: reads a label map, and raises ValueError where it cannot; by default `read_label_map`. A dataset with a
            reader of its own is read by it, see `label_file_of`.
        new_labels: {label in the reference's file: label of the dataset}, as {4: 3} for an older numbering of BraTS.

    Raises:
        ValueError: there are no regions, or the tolerance is negative.
    """
    read = read_label_map if read is None else read
    try:
        expected = read(reference)
        expected = replace(expected, labels=relabelled(expected.labels, new_labels or {}))
    except ValueError as error:
        return CaseScores({}, dict.fromkeys(predictions, f"its reference: {error}"))
    scorer = CaseScorer(
        expected.labels,
        expected.spacing_mm,
        regions,
        ignore_label=ignore_label,
        tolerance_mm=tolerance_mm,
        lesions=lesions,
    )
    scores: dict[Key, dict[str, RegionScore]] = {}
    refused: dict[Key, str] = {}
    for key, file in predictions.items():
        try:
            found = read(file)
            check_same_grid(found, expected, case=case)
        except ValueError as error:
            refused[key] = str(error)
        else:
            scores[key] = scorer.score(found.labels)
    return CaseScores(scores, refused)


def _lesions(predicted: Mask, reference: Mask) -> dict[str, Any]:
    found = lesion_score(predicted, reference)
    return {
        "reference_lesions": found.reference,
        "predicted_lesions": found.predicted,
        "matched_lesions": found.matched,
        "lesion_dice": found.dice,
    }


def _union(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    boxes = [box for box in (first, second) if (box[1] > box[0]).all()]
    if not boxes:
        return first
    return np.stack([np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)])


def _slices(bounds: NDArray[np.int64]) -> tuple[slice, ...]:
    return tuple(slice(int(start), int(end)) for start, end in bounds.T)
