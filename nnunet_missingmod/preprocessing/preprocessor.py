"""nnU-Net's preprocessor for cases that lack modalities; it adds only the reading and marking of absent channels.

It turns the files of a case into the array of which training and prediction take patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_missingmod import absence, plans_block
from nnunet_missingmod.cases.files import CaseRefusedError, assign_channels, case_name
from nnunet_missingmod.cases.labels import Grid, read_label_file
from nnunet_missingmod.cases.reading import judge_channels, read_case
from nnunet_missingmod.modalities import channel_names

_NAMELESS_CASE = "(array)"  # the name in messages of a case that is given as an array


class MissingModPreprocessor(DefaultPreprocessor):
    """Preprocess cases that have at least one modality.

    A file's channel comes from its ``_XXXX`` suffix. nnU-Net crops the case by its present channels, normalises each of
    them with its own scheme and resamples it. Then the absent channels are marked.
    """

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
            CaseRefusedError: see ``assign_channels``, ``read_case`` and ``judge_channels``.
        """
        dataset = _loaded(dataset_json)
        file_ending = dataset["file_ending"]
        files = assign_channels(image_files, channel_names(dataset), file_ending)
        case = case_name(image_files[0], file_ending)
        return self.run_assigned_case(files, seg_file, plans_manager, configuration_manager, dataset, case=case)

    def run_assigned_case(
        self,
        files: Mapping[int, Path],
        seg_file: str | None,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        dataset_json: dict[str, Any],
        *,
        case: str,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Read and preprocess one case given as {channel: file}; the files may have any name.

        Raises:
            CaseRefusedError: see ``read_case``, ``read_label_file`` and ``judge_channels``.
        """
        choices = plans_block.resolve(configuration_manager.configuration.get(plans_block.BLOCK))
        reader = plans_manager.image_reader_writer_class()
        raw = read_case(
            files,
            channel_names(dataset_json),
            reader,
            case=case,
            file_ending=dataset_json["file_ending"],
            geometry_tolerance_voxels=choices["geometry_tolerance_voxels"],
            volumes_only=len(configuration_manager.patch_size) == 3,
        )
        seg = None
        if seg_file is not None:
            try:
                seg = read_label_file(Path(seg_file), reader, Grid(raw.data.shape[1:], raw.properties))
            except ValueError as error:
                raise CaseRefusedError(case, f"its segmentation {error}. Replace it.") from error
        raw.properties[plans_block.BLOCK] = {
            "case": case,
            "nonfinite_zeroed": raw.replaced,
            "grid_distance_voxels": raw.distances_voxels,
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
            ``"missingmod"`` entry has the present and the blank modalities, the number of voxels set to 0, and the
            distances of files from the first file's grid, if they are within the tolerance.

        Raises:
            CaseRefusedError: see ``judge_channels``; or a channel is not finite after normalisation.
        """
        dataset = _loaded(dataset_json)
        choices = plans_block.resolve(configuration_manager.configuration.get(plans_block.BLOCK))
        read = properties.get(plans_block.BLOCK, {"case": _NAMELESS_CASE})
        case = read["case"]
        names = channel_names(dataset)
        data = data.astype(np.float32)  # a copy: the caller's array is not marked
        present, report = judge_channels(
            data,
            names,
            case=case,
            blank_is_absent=choices["blank_is_absent"],
            nonfinite=choices["nonfinite"],
            replaced=read.get("nonfinite_zeroed"),
        )
        properties[plans_block.BLOCK] = {**read, **report}
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


def _loaded(dataset_json: dict[str, Any] | str) -> dict[str, Any]:
    loaded: dict[str, Any] = load_json(dataset_json) if isinstance(dataset_json, str) else dataset_json
    return loaded
