"""Predictions beside references: one slice of a few cases, as predicted from several subsets of modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.metrics import BothEmpty, LabelMap, region_dice, region_mask
from nnunet_missingmod.evaluation.report.figures import INK, save_png
from nnunet_missingmod.evaluation.scoring import as_label_map, read_image

# From Okabe and Ito's palette, safe for colour-blind readers; regions beyond the sixth begin anew.
_REGION_COLOURS = ("#56B4E9", "#F0E442", "#D55E00", "#009E73", "#CC79A7", "#0072B2")
_OPACITY = 0.6
# Sizes in inches: of the figure, of the line below a panel, of what is between panels.
_WIDTH = 10.0
_CAPTION = 0.26
_GAP = 0.05


@dataclass(frozen=True)
class QualitativeCase:
    """The files of one case: an image to draw on, the reference, and a prediction per (model, subset name)."""

    case: str
    image: Path
    reference: Path
    predictions: Mapping[tuple[str, str], Path]


def qualitative_grid(
    cases: Sequence[QualitativeCase],
    path: Path,
    *,
    models: Sequence[str],
    subsets: Sequence[str],
    regions: Mapping[str, Sequence[int]],
    ignore_label: int | None = None,
    both_empty: BothEmpty = "one",
) -> None:
    """Draw a row per case and model, and a column per subset after one that shows the reference.

    Predictions are filled, a colour per region in the order of ``regions`` (outer ones first), and the reference lies
    on them as a white contour per region. Under each panel stands the Dice coefficient in percent, of the whole case
    and not of the slice alone. The slice is the axial one with the largest reference, else the middle one; anterior is
    up and the patient's right is on the left. Where a case has no prediction for a model and subset, the panel says so.

    Raises:
        ValueError: there is no case, model or subset; a file cannot be read, or its shape is not the reference's.
    """
    if not cases or not models or not subsets:
        raise ValueError(f"A grid needs cases, models and subsets, got {len(cases)}, {len(models)} and {len(subsets)}.")
    margin = 0.5 if len(models) > 1 else 0.3
    side = (_WIDTH - margin) / (len(subsets) + 1) - _GAP
    header, footer = 0.28, 0.32
    height = header + len(cases) * len(models) * (side + _CAPTION) + footer
    figure = Figure(figsize=(_WIDTH, height))
    painter = _Painter(regions, ignore_label, both_empty)

    for index, (case, model) in enumerate((case, model) for case in cases for model in models):
        view = _View.of(case, painter.tumour)
        top = header + index * (side + _CAPTION)
        for column, subset in enumerate(["reference", *subsets]):
            left = margin + column * (side + _GAP)
            axes = figure.add_axes((left / _WIDTH, 1 - (top + side) / height, side / _WIDTH, side / height))
            axes.set(xticks=[], yticks=[], facecolor="black")
            axes.spines[:].set_visible(False)
            if index == 0:
                axes.set_title(subset, fontsize=_fitting(subset, side), color=INK, pad=4, weight="bold")
            if column == 0:
                painter.draw_reference(axes, view)
                axes.set_ylabel(f"{case.case}\n{model}" if len(models) > 1 else case.case, fontsize=8.5, color=INK)
            elif (model, subset) in case.predictions:
                painter.draw_prediction(axes, view, case.predictions[model, subset], width=side)
            else:
                axes.set_facecolor("#eeeeee")
                axes.text(0.5, 0.5, "no prediction", ha="center", va="center", fontsize=8, transform=axes.transAxes)
    figure.legend(
        handles=painter.legend(),
        loc="lower center",
        ncols=len(regions) + 1,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        borderaxespad=0.2,
    )
    save_png(figure, path)


def _fitting(text: str, width: float, largest: float = 9.0) -> float:
    """Return the font size at which text fits into ``width`` inches: a bold letter is about 0.68 of its size wide."""
    return min(largest, width * 72 / (0.68 * len(text)))


@dataclass(frozen=True)
class _View:
    """One slice of a case: the image window as grey values in 0..1, and where in the volume it lies."""

    case: str
    reference: LabelMap
    grey: NDArray[Any]
    index: int
    window: tuple[slice, slice]
    aspect: float

    @classmethod
    def of(cls, case: QualitativeCase, tumour: Sequence[int]) -> _View:
        """Read a case and choose the slice with the largest area of ``tumour`` labels, else the middle one."""
        volume, spacing = _read(case.image)
        reference = _read_labels(case.reference)
        if volume.shape != reference.shape:
            raise ValueError(f"{case.case}: the image has shape {volume.shape}, the reference {reference.shape}.")
        areas = np.count_nonzero(region_mask(reference, tumour), axis=(1, 2))
        index = int(np.argmax(areas)) if areas.any() else len(areas) // 2
        plane = volume[index].astype(np.float64)
        inside = plane > plane.min()
        window = _square_window(inside | region_mask(reference[index], tumour))
        # A few very bright voxels would darken the rest.
        low, high = np.percentile(plane[inside], (1, 99.5)) if inside.any() else (0.0, 1.0)
        grey = np.clip((plane[window] - low) / max(high - low, 1e-6), 0, 1)
        return cls(case.case, reference, grey, index, window, spacing[1] / spacing[2])


def _read(path: Path) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Return voxels (Z, Y, X) in radiological orientation and spacing in mm; a 2-D image is a volume of one slice."""
    image = _read_oriented(path)
    voxels, spacing = sitk.GetArrayFromImage(image), tuple(reversed(image.GetSpacing()))
    return (voxels[None], (1.0, *spacing)) if voxels.ndim == 2 else (voxels, spacing)


def _read_labels(path: Path) -> LabelMap:
    """Return labels (Z, Y, X) in radiological orientation, as `_read` returns an image."""
    labels = as_label_map(_read_oriented(path), source=path)
    return labels[None] if labels.ndim == 2 else labels


def _read_oriented(path: Path) -> sitk.Image:
    image = read_image(path)
    return sitk.DICOMOrient(image, "LPS") if image.GetDimension() == 3 else image


def _square_window(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the smallest square around the true pixels, with a margin, as far as the plane reaches."""
    if not inside.any():
        return slice(None), slice(None)
    bounds = [(int(np.min(where)), int(np.max(where)) + 1) for where in np.nonzero(inside)]
    half = (max(end - start for start, end in bounds) + 1) // 2 + 2
    middles = [(start + end) // 2 for start, end in bounds]
    rows, columns = (slice(max(middle - half, 0), middle + half) for middle in middles)
    return rows, columns


class _Painter:
    """Draws slices with regions on them; regions, colours and scoring rules are the same in the whole figure."""

    def __init__(self, regions: Mapping[str, Sequence[int]], ignore_label: int | None, both_empty: BothEmpty) -> None:
        self.regions = regions
        self.ignore_label = ignore_label
        self.both_empty = both_empty
        self.tumour = sorted({label for region in regions.values() for label in region})
        self.colours = [_REGION_COLOURS[index % len(_REGION_COLOURS)] for index in range(len(regions))]

    def draw_reference(self, axes: Axes, view: _View) -> None:
        """Draw the image with the reference filled."""
        self._draw_filled(axes, view, view.reference)

    def draw_prediction(self, axes: Axes, view: _View, file: Path, *, width: float) -> None:
        """Draw the image with a prediction filled, the reference's contours on it, and the case's Dice below."""
        prediction = _read_labels(file)
        if prediction.shape != view.reference.shape:
            raise ValueError(f"{view.case}: {file} has shape {prediction.shape}, the reference {view.reference.shape}.")
        self._draw_filled(axes, view, prediction)
        for region in self.regions.values():
            mask = region_mask(view.reference[view.index][view.window], region)
            if mask.any() and not mask.all():
                axes.contour(mask, levels=[0.5], colors="white", linewidths=0.9)
        scores = region_dice(
            prediction, view.reference, self.regions, ignore_label=self.ignore_label, both_empty=self.both_empty
        )
        words = (f"{name} {'n/a' if isnan(score) else round(100 * score)}" for name, score in scores.items())
        caption = "   ".join(words)
        axes.set_xlabel(caption, fontsize=_fitting(caption, width, 8.5), color=INK, labelpad=3)

    def _draw_filled(self, axes: Axes, view: _View, labels: LabelMap) -> None:
        """Draw the image, with the regions of a label map over it in colours that let it shine through."""
        picture = np.repeat(view.grey[..., None], 3, axis=-1)  # Y X -> Y X RGB
        plane = labels[view.index][view.window]
        paint = picture.copy()
        for region, colour in zip(self.regions.values(), self.colours, strict=True):
            paint[region_mask(plane, region)] = to_rgb(colour)
        axes.imshow((1 - _OPACITY) * picture + _OPACITY * paint, interpolation="nearest")
        # The panel stays square: what the window lacks at the volume's border is black.
        axes.set_aspect(view.aspect, adjustable="datalim")

    def legend(self) -> list[Patch | Line2D]:
        """Return a sample of every region's colour and of the reference's contour."""
        contour = Line2D([], [], color="white", linewidth=1.2, label="reference")
        contour.set_path_effects([withStroke(linewidth=7, foreground="#555555")])
        filled = [Patch(color=colour, label=name) for name, colour in zip(self.regions, self.colours, strict=True)]
        return [*filled, contour]
