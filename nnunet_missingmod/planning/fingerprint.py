"""The dataset fingerprint of training cases that may lack modalities.

nnU-Net's own extraction requires J channels of every case. Here a channel's intensities come from the cases that have
it, and a case's shape from its present channels. For complete cases the fingerprint equals nnU-Net's, bit for bit.
nnU-Net's planner reads it.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from tqdm import tqdm

from nnunet_missingmod.cases.dataset import find_raw_cases
from nnunet_missingmod.cases.description import check_for_planning, read_dataset_json
from nnunet_missingmod.cases.files import CaseFiles, CaseRefusedError, assign_channels
from nnunet_missingmod.cases.integrity import check_name, is_readable_name
from nnunet_missingmod.cases.reading import judge_channels, read_case
from nnunet_missingmod.modalities import channel_names
from nnunet_missingmod.storage import write_text
from nnunet_missingmod.workers import end_with_parent

# Any distance between grids and any header is accepted, because the choices are in the plans, which do not exist yet;
# preprocessing checks them. Images of different shapes are refused here too.
_ANY_GRID = sys.float_info.max
_PERCENTILES = (0.5, 50.0, 99.5)  # nnU-Net's

_INTENSITIES = "foreground_intensity_properties_per_channel"

logger = logging.getLogger(__name__)

Intensities = npt.NDArray[np.floating[Any]] | list[float]


class CaseFingerprint(NamedTuple):
    """The contribution of one case to the fingerprint.

    Attributes:
        shape_after_crop: of the box around the nonzero voxels of the present channels.
        spacing: of the first present file, in nnU-Net's axis order.
        intensities: {channel: foreground samples} of the present channels; the lists are empty without foreground.
        relative_size_after_cropping: number of voxels after cropping / number of voxels before.
    """

    shape_after_crop: tuple[int, ...]
    spacing: Sequence[float]
    intensities: dict[int, Intensities]
    relative_size_after_cropping: float


def analyse_case(
    image_files: Sequence[str] | Mapping[int, Path],
    segmentation_file: str | Path,
    *,
    case: str,
    names: Sequence[str],
    file_ending: str,
    reader_class: Callable[[], Any],
    num_samples: int,
) -> CaseFingerprint:
    """Read one training case and return its contribution.

    A file whose voxels all have one value counts as absent, as it does in preprocessing. NaN and infinite voxels count
    as 0 here; preprocessing refuses them unless the plans say otherwise.

    Args:
        image_files: the files of the modalities that the case has, as {channel: file} or each with its channel suffix.
        names: the J modality names in channel order.
        reader_class: nnU-Net's reader class.
        num_samples: number of foreground voxels to draw per channel, with replacement, as nnU-Net does.

    Raises:
        CaseRefusedError: a file cannot be used (see ``read_case``), or images and segmentation differ in shape.
    """
    reader = reader_class()
    raw = read_case(
        image_files if isinstance(image_files, Mapping) else assign_channels(image_files, names, file_ending),
        names,
        reader,
        case=case,
        file_ending=file_ending,
        geometry_tolerance_voxels=_ANY_GRID,
        headers="as_read",
    )
    present, _ = judge_channels(
        raw.data, names, case=case, blank_is_absent=True, nonfinite="zero", replaced=raw.replaced
    )
    try:
        check_name(segmentation_file)
        segmentation, _ = reader.read_seg(str(segmentation_file))
    except Exception as error:  # readers raise whatever their libraries raise
        raise CaseRefusedError(case, f"the segmentation {segmentation_file} cannot be read: {error}") from error
    if segmentation.shape[1:] != raw.data.shape[1:]:
        raise CaseRefusedError(
            case,
            f"the segmentation has shape {segmentation.shape[1:]}, the images {raw.data.shape[1:]}. "
            f"Resample {segmentation_file} onto the images.",
        )
    cropped, segmentation, _ = crop_to_nonzero(raw.data[present], segmentation)
    intensities, _ = DatasetFingerprintExtractor.collect_foreground_intensities(
        segmentation, cropped, num_samples=num_samples
    )
    return CaseFingerprint(
        cropped.shape[1:],
        raw.properties["spacing"],
        dict(zip(np.flatnonzero(present).tolist(), intensities, strict=True)),
        np.prod(cropped.shape[1:]) / np.prod(raw.data.shape[1:]),
    )


def combine(cases: Sequence[CaseFingerprint], names: Sequence[str]) -> dict[str, Any]:
    """Return the fingerprint of a dataset: lists over all cases, and each channel's intensities over its cases.

    Raises:
        ValueError: a channel has no case, or no case with foreground.
    """
    statistics = {}
    for channel, name in enumerate(names):
        having = [case.intensities[channel] for case in cases if channel in case.intensities]
        if not having:
            raise ValueError(
                f"No training case has {name} (channel {channel}). Remove it from channel_names in dataset.json and "
                "renumber the files, or add cases that have it."
            )
        statistics[channel] = _statistics(np.concatenate(having), name)
    return {
        "spacings": [case.spacing for case in cases],
        "shapes_after_crop": [case.shape_after_crop for case in cases],
        _INTENSITIES: statistics,
        "median_relative_size_after_cropping": np.median([case.relative_size_after_cropping for case in cases], 0),
    }


def _statistics(intensities: npt.NDArray[np.floating[Any]], name: str) -> dict[str, float]:
    if not intensities.size:
        raise ValueError(
            f"No training case that has {name} has a labelled voxel, so that its intensities cannot be told. Check the "
            "files in labelsTr."
        )
    percentile_00_5, median, percentile_99_5 = np.percentile(intensities, np.array(_PERCENTILES))
    return {
        "mean": float(np.mean(intensities)),
        "median": float(median),
        "std": float(np.std(intensities)),
        "min": float(np.min(intensities)),
        "max": float(np.max(intensities)),
        "percentile_99_5": float(percentile_99_5),
        "percentile_00_5": float(percentile_00_5),
    }


class FingerprintExtractor(DatasetFingerprintExtractor):
    """nnU-Net's fingerprint extractor for datasets whose cases may lack files.

    Raises:
        DatasetError: dataset.json cannot be planned from; the message has the right form.
    """

    def __init__(self, dataset_name_or_id: str | int, *args: Any, **kwargs: Any) -> None:
        check_for_planning(Path(str(nnUNet_raw), maybe_convert_to_dataset_name(dataset_name_or_id)))
        super().__init__(dataset_name_or_id, *args, **kwargs)

    def run(self, overwrite_existing: bool = False) -> dict[str, Any]:
        """Return the dataset's fingerprint and write it to ``dataset_fingerprint.json``, if it is not there yet.

        One that is there is read; the log warns of it if the dataset has another number of training cases now.

        Raises:
            ValueError: there are no cases, some were refused (the message lists them), or a channel has no intensities;
                or the fingerprint that is there has another number of channels than the dataset.
            RuntimeError: a worker process died.
        """
        file = Path(str(nnUNet_preprocessed), self.dataset_name, "dataset_fingerprint.json")
        if file.is_file() and not overwrite_existing:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            self._check_current(found, file)
            return found
        names = channel_names(self.dataset_json)
        fingerprint = combine(self._analyse_all(names), names)
        # The same numbers, order and indentation as in nnU-Net's file.
        write_text(file, json.dumps(fingerprint, sort_keys=True, indent=4))
        return fingerprint

    def _check_current(self, found: Mapping[str, Any], file: Path) -> None:
        fix = "Add --clean, which lets it be extracted again: nnunet_missingmod plan -d DATASET --clean"
        names = channel_names(self.dataset_json)
        if len(found.get(_INTENSITIES, names)) != len(names):
            raise ValueError(
                f"{file} is of {len(found[_INTENSITIES])} channels, but {self.dataset_name} has {len(names)} now: "
                f"{', '.join(names)}. {fix}"
            )
        training, _ = self._training_cases()
        if len(found.get("spacings", training)) != len(training):
            logger.warning(
                "%s is of %d training cases, but %s has %d now. Plans are made of the old ones' sizes, and CT is "
                "normalised by their intensities. %s",
                file,
                len(found["spacings"]),
                self.dataset_name,
                len(training),
                fix,
            )

    def _training_cases(self) -> tuple[list[CaseFiles], dict[tuple[str, str], Path]]:
        folder = Path(self.input_folder)
        # Read again, because nnU-Net writes into its copy where it looks for the files that are listed.
        given, labels = find_raw_cases(folder, read_dataset_json(folder))
        return [case for split, case in given if split == "Tr"], labels

    def _analyse_all(self, names: Sequence[str]) -> list[CaseFingerprint]:
        training, labels = self._training_cases()
        files = [file for case in training for file in case.files.values()]
        if not files:
            raise ValueError(
                f"{self.input_folder} has no training cases: expected files such as "
                f"imagesTr/CASE_0000{self.dataset_json['file_ending']}."
                + "".join(f"\nCase {case.case!r}: {' '.join(case.problems)}" for case in training)
            )
        example = next((str(file) for file in files if is_readable_name(file)), None)
        shared = {
            "names": names,
            "file_ending": self.dataset_json["file_ending"],
            "reader_class": determine_reader_writer_from_dataset_json(self.dataset_json, example),
            "num_samples": int(self.num_foreground_voxels_for_intensitystats // len(training)),
        }
        jobs = [(case, labels["Tr", case.case], shared) for case in training]
        cases, refused = [], []
        for outcome in tqdm(
            self._outcomes(jobs),
            desc="Extracting dataset fingerprint",
            total=len(jobs),
            disable=not self.show_progress_bar,
        ):
            if isinstance(outcome, CaseRefusedError):
                refused.append(str(outcome))
            else:
                cases.append(outcome)
        if refused:
            listed = "\n".join(refused)
            raise ValueError(f"{len(refused)} of {len(jobs)} training cases were refused:\n{listed}")
        return cases

    def _outcomes(self, jobs: Sequence[_Job]) -> Iterator[CaseFingerprint | CaseRefusedError]:
        if self.num_processes <= 1:
            yield from map(_attempt, jobs)
            return
        try:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(self.num_processes, mp_context=context, initializer=end_with_parent) as pool:
                yield from pool.map(_attempt, jobs)
        except BrokenProcessPool as error:
            raise RuntimeError(
                "A process that reads training cases died, most often for want of memory. Use fewer of them: -np 2."
            ) from error


_Job = tuple[CaseFiles, Path, Mapping[str, Any]]


def _attempt(job: _Job) -> CaseFingerprint | CaseRefusedError:
    case, label, shared = job
    if case.problems:
        return CaseRefusedError(case.case, " ".join(case.problems))
    try:
        return analyse_case(case.files, label, case=case.case, **shared)
    except CaseRefusedError as refusal:
        return refusal
