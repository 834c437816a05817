"""nnU-Net's preprocessor for cases that lack modalities; it adds only the reading and marking of absent channels.

It turns the files of a case into the array of which training and prediction take patches.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.paths import nnUNet_raw
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_missingmod import absence, plans_block
from nnunet_missingmod.cases.dataset import find_listed_case
from nnunet_missingmod.cases.files import CaseFiles, CaseRefusedError, assign_channels, case_name, used_files
from nnunet_missingmod.cases.labels import Grid
from nnunet_missingmod.cases.memory import MemoryImage
from nnunet_missingmod.cases.preflight import read_case_labels
from nnunet_missingmod.cases.reading import judge_channels, read_case
from nnunet_missingmod.modalities import channel_names

# Along each axis; far above any field of view of the same organ.
_MOST_TIMES_THE_MEDIAN = 10
_WHITE = 255  # of nnU-Net's RGBTo01Normalization
_NAMELESS_CASE = "(array)"  # the name in messages of a case that is given as an array


class MissingModPreprocessor(DefaultPreprocessor):
    """Preprocess cases that have at least one modality.

    A file's channel comes from its ``_XXXX`` suffix, or from the ``"dataset"`` entry of dataset.json. nnU-Net crops the
    case by its present channels, normalises each of them with its own scheme and resamples it. Then the absent channels
    are marked.

    In prediction a model of some modalities (``modality_subset``) is shown no others. ``run_case_save``, which training
    data is preprocessed by, shows all, which trainers of any subset share.
    """

    is_training = False

    def run_case_save(self, *args: Any, **kwargs: Any) -> None:
        """Preprocess and save a case of training, as nnU-Net does."""
        self.is_training = True
        super().run_case_save(*args, **kwargs)

    def run_case(
        self,
        image_files: list[str],
        seg_file: str | None,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict[str, Any] | str,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Read and preprocess one case from the files of the modalities that it has.

        Raises:
            CaseRefusedError: see ``assign_channels``, ``listed_case``, ``read_case`` and ``judge_channels``.
            DatasetError: files are listed in the raw dataset's dataset.json, which cannot be read.
        """
        dataset = _loaded(dataset_json)
        file_ending, names = dataset["file_ending"], channel_names(dataset)
        listed = None
        # A case with labels is one of training, or a previous stage's, where there may be no raw dataset.
        if seg_file is not None and "dataset" in dataset and nnUNet_raw.is_set():
            raw = Path(nnUNet_raw, plans_manager.dataset_name)
            if (raw / "dataset.json").exists():
                listed = find_listed_case(image_files, seg_file, raw)
        if listed is None:
            files = assign_channels(image_files, names, file_ending)
            listed = CaseFiles(case_name(image_files[0], file_ending), files)
        if listed.problems:
            raise CaseRefusedError(listed.case, " ".join(listed.problems))
        return self.run_assigned_case(
            listed.files, seg_file, plans_manager, configuration_manager, dataset, case=listed.case
        )

    def run_assigned_case(
        self,
        files: Mapping[int, Path | MemoryImage],
        seg_file: str | None,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict[str, Any],
        *,
        case: str,
        labels: Collection[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Read and preprocess one case given as {channel: file or image in memory}; the files may have any name.

        Args:
            labels: the values that ``seg_file`` may hold; None accepts any whole number.

        Raises:
            CaseRefusedError: see ``read_case``, ``read_case_labels`` and ``judge_channels``.
        """
        choices = self._choices(plans_manager, configuration_manager)
        if not self.is_training:
            files = used_files(files, _used(choices))
        reader = plans_manager.image_reader_writer_class()
        raw = read_case(
            files,
            channel_names(dataset_json),
            reader,
            case=case,
            file_ending=dataset_json["file_ending"],
            geometry_tolerance_voxels=choices["geometry_tolerance_voxels"],
            volumes_only=len(configuration_manager.patch_size) == 3,
            nifti_transform=choices["nifti_transform"],
            headers=choices["headers"],
        )
        seg = None
        if seg_file is not None:
            try:
                grid = Grid(raw.data.shape[1:], raw.properties)
                seg = read_case_labels(Path(seg_file), reader, grid, choices=choices, labels=labels)
            except ValueError as error:
                raise CaseRefusedError(case, f"its segmentation {error}. Replace it.") from error
        raw.properties[plans_block.BLOCK] = {
            "case": case,
            "nonfinite_zeroed": raw.replaced,
            "grid_distance_voxels": raw.distances_voxels,
            "headers": raw.headers,
            "copies": raw.copies,
        }
        return self.run_case_npy(raw.data, seg, raw.properties, plans_manager, configuration_manager, dataset_json)

    def run_case_npy(
        self,
        data: np.ndarray,
        seg: np.ndarray | None,
        properties: dict[str, Any],
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict[str, Any] | str,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Preprocess one case given as an array (J, X, Y, Z) in which a channel of NaN is absent.

        Returns:
            The preprocessed array with absent channels marked, the segmentation, and the properties. Their
            ``"missingmod"`` entry has the present and the blank modalities, the number of voxels set to 0, and what was
            read from files: distances from the first file's grid within the tolerance, decisions about headers, and
            modalities that are copies of one another.

        Raises:
            CaseRefusedError: see ``judge_channels``; the array has another number of channels than there are
                modalities; or a channel is not finite after normalisation.
        """
        dataset = _loaded(dataset_json)
        choices = self._choices(plans_manager, configuration_manager)
        read = properties.get(plans_block.BLOCK, {"case": _NAMELESS_CASE})
        case = read["case"]
        names = channel_names(dataset)
        if data.ndim != 4 or len(data) != len(names):
            raise CaseRefusedError(
                case,
                f"an array of shape {data.shape} was given, but the model wants ({len(names)}, X, Y, Z): a channel "
                f"each for {', '.join(names)}. Fill the channels of those that are absent with NaN.",
            )
        data = data.astype(np.float32)  # a copy: the caller's array is not marked
        if not self.is_training:
            _hide_what_is_not_used(data, names, _used(choices), case=case)
        present, report = judge_channels(
            data,
            names,
            case=case,
            blank_is_absent=choices["blank_is_absent"],
            nonfinite=choices["nonfinite"],
            replaced=read.get("nonfinite_zeroed"),
        )
        properties[plans_block.BLOCK] = {**read, **report}
        _check_colours(data, names, present, configuration_manager.normalization_schemes, case=case)
        _check_extent(data.shape[1:], properties["spacing"], plans_manager, configuration_manager, case=case)
        # With zeros in absent channels, nnU-Net crops by the present ones. The mark overwrites the zeros after
        # normalisation and resampling.
        data = absence.fill_case(data, present)
        data, seg, properties = super().run_case_npy(
            data, seg, properties, plans_manager, configuration_manager, dataset
        )
        # Very large voxels overflow in normalisation; the resulting NaN must not be taken for the absence mark.
        for name, channel, is_present in zip(names, data, present, strict=False):
            if is_present and not np.isfinite(channel).all():
                raise CaseRefusedError(
                    case, f"{name} has voxels so large or so far apart that normalisation overflows. Mend the file."
                )
        absence.mark_case(data, present)
        return data, seg, properties

    def _choices(self, plans_manager: PlansManager, configuration_manager: ConfigurationManager) -> dict[str, Any]:
        """Return the choices of a configuration; a block where nothing reads it is refused in training.

        A trained model is what it was trained to be, whatever lies in its plans.
        """
        configuration = configuration_manager.configuration
        if self.is_training:
            return plans_block.resolve(plans_block.block_of(plans_manager.plans, configuration))
        return plans_block.resolve(configuration.get(plans_block.BLOCK))


def _used(choices: Mapping[str, Any]) -> list[int] | None:
    """Return the channels that a trained model uses, whose plans number them; None for all."""
    used = [channel for channel in choices["modality_subset"] if isinstance(channel, int)]
    return used or None


def _loaded(dataset_json: dict[str, Any] | str) -> dict[str, Any]:
    loaded: dict[str, Any] = load_json(dataset_json) if isinstance(dataset_json, str) else dataset_json
    return loaded


def _hide_what_is_not_used(data: np.ndarray, names: Sequence[str], used: list[int] | None, *, case: str) -> None:
    """Mark the channels that a model of some modalities alone was not trained on.

    Raises:
        CaseRefusedError: none is left.
    """
    if used is None:
        return
    if np.isnan(data[used]).all():
        trained_on = ", ".join(names[channel] for channel in used)
        raise CaseRefusedError(
            case, f'the model was trained on {trained_on} alone ("modality_subset"). Give these, or take another model.'
        )
    kept = np.zeros(len(data), dtype=bool)
    kept[used] = True
    absence.mark_case(data, kept)


def _check_extent(
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    *,
    case: str,
) -> None:
    """Refuse an image that resampling would make nothing or beyond measure of, as of a voxel size in metres.

    Raises:
        CaseRefusedError: along an axis less than half a voxel would be left, or there would be more than ten times as
            many along each axis as in the median training case.
    """
    order = plans_manager.transpose_forward
    target_mm = configuration_manager.spacing  # those of a 2D configuration keep the slices as they are
    axes = order[len(order) - len(target_mm) :]
    extents = [shape[axis] * spacing_mm[axis] / mm for axis, mm in zip(axes, target_mm, strict=True)]
    median = configuration_manager.configuration.get("median_image_size_in_voxels") or extents
    is_huge = math.prod(extents) > math.prod(_MOST_TIMES_THE_MEDIAN * number for number in median)
    if is_huge or round(min(extents)) < 1:
        sizes, made, usual = (
            " x ".join(f"{number:.3g}" for number in numbers)
            for numbers in ([spacing_mm[axis] for axis in axes], extents, median)
        )
        raise CaseRefusedError(
            case,
            f"its voxels of {sizes} mm make an image of {made} voxels at the model's resolution, where training had "
            f"{usual}. Is the size in another unit than mm? Correct the headers.",
        )


def _check_colours(
    data: np.ndarray, names: Sequence[str], present: absence.BoolArray, schemes: Sequence[str], *, case: str
) -> None:
    """Refuse channels that nnU-Net's normalisation of colours would end in an assertion over."""
    for name, channel, is_present, scheme in zip(names, data, present, schemes, strict=False):
        if is_present and scheme == "RGBTo01Normalization" and not (channel.min() >= 0 and channel.max() <= _WHITE):
            raise CaseRefusedError(
                case,
                f"{name} has values from {channel.min():g} to {channel.max():g}, but is normalised as a colour of 0 to "
                f"{_WHITE}. Save the picture with 8 bits per channel.",
            )
