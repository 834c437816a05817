"""A predicted segmentation with its geometry; it is saved completely and checked, or not at all.

``Predictor`` returns it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from batchgenerators.utilities.file_and_folder_operations import save_pickle
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO

from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.cases.geometry import is_flat, simpleitk_geometry
from nnunet_missingmod.cases.integrity import check_name
from nnunet_missingmod.cases.reorientation import Reorientation
from nnunet_missingmod.evaluation.conventions import evaluated_regions
from nnunet_missingmod.storage import file_fingerprint, moved_when_complete, read_json_object, write_text

SIDECAR_ENDING = ".missingmod.json"
UNFINISHED = "unfinished"  # the status in the sidecar while a prediction takes another's place
FINGERPRINTS = "sha256"  # the key of {file name: its fingerprint} in the sidecar


def check_finite(logits: torch.Tensor, case: str) -> None:
    """Check that a network's output is made of numbers: the largest of NaN would be the background.

    Raises:
        CaseRefusedError: it is not.
    """
    if not bool(torch.isfinite(logits).all()):
        raise CaseRefusedError(
            case,
            "the network's output is not finite. Weights that are far too large make it so, after a training that "
            "diverged: use another checkpoint (-chk), or train again with a lower initial_lr. If other cases are "
            "predicted, look for extreme intensities in this one.",
        )


@dataclass(frozen=True)
class Prediction:
    """The segmentation of one case.

    Attributes:
        case: its name.
        array: labels (Z, Y, X), voxel by voxel those of the first image in channel order as ``GetArrayFromImage``
            returns it, however the reader turned that. A 2D image is (1, Y, X).
        probabilities: (classes or regions, Z, Y, X), or None if they were not requested.
        present: names of the modalities from which it was predicted.
        report: how the files were treated: ``present``, ``blank``, ``nonfinite_zeroed``, ``grid_distance_voxels``,
            ``headers`` (what was decided about them) and ``copies`` (modalities of the same voxels); in a cascade
            ``unmeasured``, why the card does not tell what to expect, if it does not.
        expected_dice: the Dice that the model's card gives for these modalities, under ``this_case`` what the agreement
            of predictions tells of this case; None if the model has no card.
        properties: of the first file, as nnU-Net's reader returned them.
        reader: nnU-Net's reader and writer for the model's file format.
        dataset_json: of the model, which names the labels.
    """

    case: str
    array: npt.NDArray[np.integer[Any]]
    probabilities: npt.NDArray[np.floating[Any]] | None
    present: tuple[str, ...]
    report: Mapping[str, Any]
    expected_dice: Mapping[str, Any] | None
    properties: dict[str, Any] = field(repr=False)
    reader: BaseReaderWriter = field(repr=False)
    dataset_json: Mapping[str, Any] = field(repr=False)

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Voxel spacing in the order of ``array``'s axes."""
        return tuple(float(self.properties["spacing"][axis]) for axis in self._reorientation.axes)

    @property
    def _reorientation(self) -> Reorientation:
        return Reorientation.of(self.properties)

    def volumes_ml(self) -> dict[str, float]:
        """Return the volume of each region in millilitres: the number of its voxels times their mm^3, over 1,000.

        The regions are those that are evaluated: WT, TC and ET where the labels are those of BraTS.

        Raises:
            ValueError: the case is a slice or a picture, or the dataset's labels are unusable.
        """
        if is_flat(self.properties) or isinstance(self.reader, NaturalImage2DIO):
            raise ValueError(f"{self.case} has two dimensions and no volume; count the labels in array.")
        geometry = simpleitk_geometry(self.properties)
        # Axes of a direction that are no unit vectors scale voxels, too.
        scale = 1.0 if geometry is None else abs(np.linalg.det(np.reshape(geometry["direction"], (3, 3))))
        voxel_ml = float(np.prod(self.spacing_mm)) * float(scale) / 1000
        regions = evaluated_regions(self.dataset_json)
        return {name: float(np.isin(self.array, labels).sum()) * voxel_ml for name, labels in regions.items()}

    def to_simpleitk(self) -> sitk.Image:
        """Return the segmentation as an image with the spacing, origin and direction of the first image.

        Raises:
            ValueError: the model's files have no position in space (.png, .tif); ``save`` always works.
        """
        geometry = simpleitk_geometry(self.properties)
        if geometry is None:
            raise ValueError(
                f"{type(self.reader).__name__}, which this model reads files with, keeps no geometry. Use save(path), "
                "or array and spacing_mm."
            )
        is_2d = len(geometry["spacing"]) == 2
        array = self._reorientation.redo(self.array)
        image = sitk.GetImageFromArray(array[0] if is_2d else array)
        image.SetSpacing(geometry["spacing"])
        image.SetOrigin(geometry["origin"])
        image.SetDirection(geometry["direction"])
        return self._reorientation.undo_image(image)

    def save(self, path: str | os.PathLike[str], *, sidecar: Mapping[str, Any] | None = None) -> None:
        """Write the segmentation as nnU-Net does, and the probabilities if there are any.

        All files are written to a temporary folder first. The segmentation is read back and compared, and only then do
        the files get their final names: ``CASE.nii.gz``, and with probabilities ``CASE.npz`` and ``CASE.pkl`` for
        ``nnUNetv2_ensemble``. Without probabilities, those of the prediction that is replaced are removed, if its
        ``CASE.missingmod.json`` lists them.

        Args:
            path: of the segmentation, with an ending that the model's writer supports.
            sidecar: the content of ``CASE.missingmod.json``, which gets the other files' fingerprints too; None writes
                no such file.

        Raises:
            ValueError: the writer does not support the ending.
            OSError: the disk is full, or the file read back differs; previous files are unchanged.
        """
        path = Path(path)
        endings: list[str] = self.reader.supported_file_endings
        ending = max((e for e in endings if path.name.endswith(e)), key=len, default=None)
        if ending is None:
            raise ValueError(f"{path} must end with one of {', '.join(endings)}.")
        stem = path.name.removesuffix(ending)
        beside = path.with_name(f"{stem}{SIDECAR_ENDING}")
        with _all_or_nothing(path, sidecar=beside) as folder:
            if self.probabilities is not None:
                maps = self._reorientation.redo(self.probabilities)
                np.savez_compressed(folder / f"{stem}.npz", probabilities=maps)
                save_pickle(self.properties, str(folder / f"{stem}.pkl"))
            self._write_checked(folder / path.name)
            if sidecar is not None:
                files = {file.name: file_fingerprint(file) for file in sorted(folder.iterdir())}
                content = {**sidecar, FINGERPRINTS: files}
                text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
                (folder / beside.name).write_bytes(text.encode(errors="backslashreplace"))

    def _write_checked(self, path: Path) -> None:
        try:
            check_name(path)
            array = self._reorientation.redo(self.array)
            self.reader.write_seg(array, str(path), self.properties)
            written = self.reader.read_seg(str(path))[0][0]
        except OSError:
            raise
        except Exception as error:  # writers raise whatever their libraries raise
            raise OSError(f"it cannot be written: {str(error).strip()}") from error
        # SimpleITK raises no error when the disk is full.
        if not np.array_equal(written, array):
            raise OSError("the file does not hold what was written to it")


@contextmanager
def _all_or_nothing(path: Path, *, sidecar: Path) -> Iterator[Path]:
    """Yield a temporary folder next to ``path``; if the block ends without an error, its files move there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with moved_when_complete(path.parent, last=[path.name, sidecar.name]) as folder:
            yield folder
            # Before the sidecar, without which nobody would know any more that they are to be removed.
            for file in _listed_probabilities(sidecar):
                if not (folder / file.name).exists():
                    file.unlink(missing_ok=True)
            # A kill from here on may leave a segmentation without its row, but never with that of an older one.
            if (folder / sidecar.name).exists():
                write_text(sidecar, json.dumps({"status": UNFINISHED}) + "\n")
            else:
                sidecar.unlink(missing_ok=True)
    except OSError as error:
        raise _with_free_space(error, path) from error


def _listed_probabilities(sidecar: Path) -> list[Path]:
    """Return the files of probabilities that a sidecar lists; none if there is no sidecar or it cannot be read."""
    try:
        listed = set(read_json_object(sidecar)[FINGERPRINTS])
    except (ValueError, KeyError, TypeError):
        return []
    case = sidecar.name.removesuffix(SIDECAR_ENDING)
    return [sidecar.with_name(name) for name in (f"{case}.npz", f"{case}.pkl") if name in listed]


def _with_free_space(error: OSError, path: Path) -> OSError:
    free_mib = shutil.disk_usage(path.parent).free / 1024**2
    text = f"Cannot write {path}: {error.strerror or error}. {free_mib:.1f} MiB are free there."
    return OSError(error.errno, text) if error.errno else OSError(text)
