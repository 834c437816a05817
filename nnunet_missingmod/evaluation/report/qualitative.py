"""Predictions beside references: one slice of a few cases, as predicted from several subsets of modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import ceil, isnan
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.label_maps import label_file_of, on_grid, read_image, relabelled
from nnunet_missingmod.evaluation.metrics import BothEmpty, LabelMap, region_dice, region_mask
from nnunet_missingmod.evaluation.report.figures import INK, add_legend, save_png, shortened, wrapped

# From Okabe and Ito's palette, safe for colour-blind readers; regions beyond the sixth begin anew.
_REGION_COLOURS = ("#56B4E9", "#F0E442", "#D55E00", "#009E73", "#CC79A7", "#0072B2")
_OPACITY = 0.6
# Sizes in inches: of the figure, of the line below a panel, of what is between panels.
_WIDTH = 10.0
_CAPTION = 0.12
_GAP = 0.05
# Letters of a title in an inch of a panel's width, and the height of its lines.
_TITLE_LETTERS = 12
_TITLE_LINE = 0.14
_REGION_LETTERS = 16
_CAPTION_LINES = 4
# The numbers of channels of a colour picture, without and with transparency, which is not shown.
_COLOUR_CHANNELS = (3, 4)


class Reader(Protocol):
    """The part of nnU-Net's reader classes that reads images and label maps."""

    def read_images(self, image_fnames: Sequence[str]) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """Return the channels (C, X, Y, Z) of the images and the properties of the first."""

    def read_seg(self, seg_fname: str) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """Return a label map (1, X, Y, Z) and its properties."""


@dataclass(frozen=True)
class QualitativeCase:
    """The files of one case: an image to draw on, the reference, and a prediction per (model, subset name).

    The image may be a colour picture.
    """

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
    reader: Reader | None = None,
    new_labels: Mapping[int, int] | None = None,
) -> None:
    """Draw a row per case and model, and a column per subset after one that shows the reference.

    Predictions are filled, a colour per region in the order of ``regions`` (outer ones first), and the reference lies
    on them as a white contour per region. Under each panel stands the Dice coefficient in percent, of the whole case
    and not of the slice alone. The slice is the axial one with the largest reference, else the middle one; anterior is
    up and the patient's right is on the left. Where a case has no prediction for a model and subset, the panel says so.

    Files are read by ``reader``, by default with SimpleITK. ``new_labels`` are replaced in the reference, see
    `relabelled`.

    Raises:
        ValueError: there is no case, model or subset; a file cannot be read, or its shape is not the reference's.
    """
    if not cases or not models or not subsets:
        raise ValueError(f"A grid needs cases, models and subsets, got {len(cases)}, {len(models)} and {len(subsets)}.")
    margin = 0.5 if len(models) > 1 else 0.3
    side = (_WIDTH - margin) / (len(subsets) + 1) - _GAP
    titles = ["reference", *(wrapped(subset, max(12, int(side * _TITLE_LETTERS))) for subset in subsets)]
    header = 0.14 + _TITLE_LINE * max(title.count("\n") + 1 for title in titles)
    columns = _legend_columns(regions)
    footer = 0.12 + 0.2 * ceil((len(regions) + 1) / columns)
    letters = max(_REGION_LETTERS, int(side * _TITLE_LETTERS))
    below = _CAPTION + _TITLE_LINE * len(_caption(dict.fromkeys(regions, 1.0), letters))
    height = header + len(cases) * len(models) * (side + below) + footer
    figure = Figure(figsize=(_WIDTH, height))
    files = _Files(SimpleITKReader() if reader is None else reader, new_labels or {})
    painter = _Painter(regions, ignore_label, both_empty, files)

    for index, (case, model) in enumerate((case, model) for case in cases for model in models):
        view = _View.of(case, painter.tumour, files)
        top = header + index * (side + below)
        for column, subset in enumerate(["reference", *subsets]):
            left = margin + column * (side + _GAP)
            axes = figure.add_axes((left / _WIDTH, 1 - (top + side) / height, side / _WIDTH, side / height))
            axes.set(xticks=[], yticks=[], facecolor="black")
            axes.spines[:].set_visible(False)
            if index == 0:
                title = titles[column]
                longest = max(title.split("\n"), key=len)
                axes.set_title(title, fontsize=_fitting(longest, side), color=INK, pad=4, weight="bold")
            if column == 0:
                painter.draw_reference(axes, view)
                lines = [shortened(case.case), *([shortened(model)] if len(models) > 1 else [])]
                axes.set_ylabel("\n".join(lines), fontsize=_fitting(max(lines, key=len), side, 8.5), color=INK)
            elif (model, subset) in case.predictions:
                painter.draw_prediction(axes, view, case.predictions[model, subset], letters=letters)
            else:
                axes.set_facecolor("#eeeeee")
                axes.text(0.5, 0.5, "no prediction", ha="center", va="center", fontsize=8, transform=axes.transAxes)
    names = [*map(shortened, regions), "reference"]
    add_legend(figure, painter.legend(), names, loc="lower center", ncols=columns, borderaxespad=0.2)
    save_png(figure, path)


def _legend_columns(regions: Iterable[str]) -> int:
    """Return how many entries of the legend stand beside each other, the reference's among them."""
    entries = ["reference", *map(shortened, regions)]
    return max(1, min(len(entries), int(_WIDTH // (0.075 * max(map(len, entries)) + 0.6))))


def _caption(scores: Mapping[str, float], letters: int) -> list[str]:
    """Return region and Dice in percent, side by side as far as so many letters reach, in at most four lines."""
    lines = [""]
    for name, score in scores.items():
        word = f"{shortened(name, _REGION_LETTERS)} {'n/a' if isnan(score) else round(100 * score)}"
        if lines[-1] and len(lines[-1]) + 3 + len(word) > letters:
            lines.append("")
        lines[-1] = f"{lines[-1]}   {word}" if lines[-1] else word
    return lines if len(lines) <= _CAPTION_LINES else [*lines[: _CAPTION_LINES - 1], "…"]


def _fitting(text: str, width: float, largest: float = 9.0) -> float:
    """Return the font size at which text fits into ``width`` inches: a bold letter is about 0.68 of its size wide."""
    return min(largest, width * 72 / (0.68 * max(len(text), 1)))


@dataclass(frozen=True)
class _View:
    """One slice of a case: the image window as colours (Y, X, RGB) in 0..1, and where in the volume it lies."""

    case: str
    reference: LabelMap
    picture: NDArray[Any]
    index: int
    window: tuple[slice, slice]
    aspect: float

    @classmethod
    def of(cls, case: QualitativeCase, tumour: Sequence[int], files: _Files | None = None) -> _View:
        """Read a case and choose the slice with the largest area of ``tumour`` labels, else the middle one."""
        files = _Files(SimpleITKReader(), {}) if files is None else files
        channels, spacing = files.image(case.image)
        reference = files.reference(case.reference)
        if channels.shape[1:] != reference.shape:
            raise ValueError(f"{case.case}: the image has shape {channels.shape[1:]}, the reference {reference.shape}.")
        areas = np.count_nonzero(region_mask(reference, tumour), axis=(1, 2))
        index = int(np.argmax(areas)) if areas.any() else len(areas) // 2
        # An image of other numbers of channels is shown by its first one; NaN are dark.
        colours = channels[:3] if len(channels) in _COLOUR_CHANNELS else channels[:1]
        plane = np.moveaxis(np.nan_to_num(colours[:, index].astype(np.float64)), 0, -1)  # Y X C
        inside = (plane > plane.min()).any(axis=-1)
        window = _square_window(inside | region_mask(reference[index], tumour))
        # A few very bright voxels would darken the rest.
        low, high = np.percentile(plane[inside], (1, 99.5)) if inside.any() else (0.0, 1.0)
        shown = np.clip((plane[window] - low) / max(high - low, 1e-6), 0, 1)
        picture = np.broadcast_to(shown, (*shown.shape[:2], 3))
        return cls(case.case, reference, picture, index, window, spacing[1] / spacing[2])


class SimpleITKReader:
    """Reads images and label maps of any format that SimpleITK knows, in the form of nnU-Net's readers."""

    def read_images(self, image_fnames: Sequence[str]) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """Return the channels (C, X, Y, Z) of one image, several if it is a colour picture, and its properties."""
        image = read_image(Path(image_fnames[0]))
        voxels = sitk.GetArrayFromImage(image)
        is_colour = image.GetNumberOfComponentsPerPixel() > 1
        channels = np.moveaxis(voxels, -1, 0) if is_colour else voxels[None]
        spacing = tuple(reversed(image.GetSpacing()))
        if len(spacing) == 2:
            channels, spacing = channels[:, None], (999 * max(spacing), *spacing)
        stuff = {"direction": image.GetDirection(), "origin": image.GetOrigin()}
        return channels, {"spacing": spacing, "sitk_stuff": stuff}

    def read_seg(self, seg_fname: str) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """Return a label map like an image."""
        return self.read_images([seg_fname])


@dataclass(frozen=True)
class _Files:
    """Reads the files of a case as volumes (Z, Y, X) in radiological orientation; a 2-D image is one slice."""

    reader: Reader
    new_labels: Mapping[int, int]

    def image(self, path: Path) -> tuple[NDArray[Any], tuple[float, ...]]:
        """Return the channels of an image, (C, Z, Y, X), and its spacing in mm."""
        return _oriented(*self._read(path, lambda: self.reader.read_images([str(path)])))

    def labels(self, path: Path) -> LabelMap:
        """Return a label map."""
        segmentation, properties = self._read(path, lambda: self.reader.read_seg(str(path)))
        labels = label_file_of(segmentation, properties, source=path).labels
        return _oriented(labels.reshape(segmentation.shape), properties)[0][0]

    def reference(self, path: Path) -> LabelMap:
        """Return a label map with the new labels."""
        return relabelled(self.labels(path), self.new_labels)

    def _read(
        self, path: Path, read: Callable[[], tuple[NDArray[Any], Mapping[str, Any]]]
    ) -> tuple[NDArray[Any], Mapping[str, Any]]:
        try:
            return read()
        except ValueError:
            raise
        except Exception as error:  # readers raise whatever their libraries raise
            raise ValueError(f"{path} cannot be read: {str(error).strip() or type(error).__name__}.") from error


def _oriented(channels: NDArray[Any], properties: Mapping[str, Any]) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Turn and flip a volume (C, Z, Y, X) so that its axes point to the head, to the back and to the left.

    Volumes without a direction, and images of two dimensions, stay as they are. The second value is the spacing.
    """
    flat, grid = on_grid(channels, properties)
    if flat.ndim == 3:
        return flat[:, None], (1.0, *grid.spacing_mm)
    if grid.direction is None or len(grid.direction) != 9:
        return flat, grid.spacing_mm
    along = np.reshape(grid.direction, (3, 3))  # world X Y Z x image X Y Z
    best = max(permutations(range(3)), key=lambda axes: sum(abs(along[world, axes[world]]) for world in range(3)))
    order = [2 - best[world] for world in (2, 1, 0)]
    turned = np.transpose(flat, (0, *(1 + axis for axis in order)))
    flips = tuple(3 - world for world in range(3) if along[world, best[world]] < 0)
    return np.flip(turned, flips), tuple(grid.spacing_mm[axis] for axis in order)


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

    def __init__(
        self, regions: Mapping[str, Sequence[int]], ignore_label: int | None, both_empty: BothEmpty, files: _Files
    ) -> None:
        self.regions = regions
        self.ignore_label = ignore_label
        self.both_empty = both_empty
        self.files = files
        self.tumour = sorted({label for region in regions.values() for label in region})
        self.colours = [_REGION_COLOURS[index % len(_REGION_COLOURS)] for index in range(len(regions))]

    def draw_reference(self, axes: Axes, view: _View) -> None:
        """Draw the image with the reference filled."""
        self._draw_filled(axes, view, view.reference)

    def draw_prediction(self, axes: Axes, view: _View, file: Path, *, letters: int) -> None:
        """Draw the image with a prediction filled, the reference's contours on it, and the case's Dice below."""
        prediction = self.files.labels(file)
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
        axes.set_xlabel("\n".join(_caption(scores, letters)), fontsize=8.5, color=INK, labelpad=3)

    def _draw_filled(self, axes: Axes, view: _View, labels: LabelMap) -> None:
        """Draw the image, with the regions of a label map over it in colours that let it shine through."""
        picture = view.picture
        plane = labels[view.index][view.window]
        paint = picture.copy()
        for region, colour in zip(self.regions.values(), self.colours, strict=True):
            paint[region_mask(plane, region)] = to_rgb(colour)
        axes.imshow((1 - _OPACITY) * picture + _OPACITY * paint, interpolation="nearest")
        # The panel stays square: what the window lacks at the volume's border is black.
        axes.set_aspect(view.aspect, adjustable="datalim")

    def legend(self) -> list[Patch | Line2D]:
        """Return a sample of every region's colour and of the reference's contour."""
        contour = Line2D([], [], color="white", linewidth=1.2)
        contour.set_path_effects([withStroke(linewidth=7, foreground="#555555")])
        return [*(Patch(color=colour) for colour in self.colours), contour]
