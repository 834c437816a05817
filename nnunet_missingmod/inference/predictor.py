"""``Predictor``: a trained model that turns the files of a case into its segmentation, by nnU-Net's own predictor.

``prediction`` saves the result; ``batch`` predicts whole folders.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from nnunet_missingmod import plans_block
from nnunet_missingmod.cases.files import CaseRefusedError, has_channel_suffix
from nnunet_missingmod.choices import FILE_KEYS
from nnunet_missingmod.evaluation.agreement import FOLDS
from nnunet_missingmod.inference.advise import ExpectedAccuracy
from nnunet_missingmod.inference.fold_labels import FoldLabelsPredictor
from nnunet_missingmod.inference.host_settings import TIMED_ALGORITHMS, threads_restored
from nnunet_missingmod.inference.model_files import FINAL, Fold
from nnunet_missingmod.inference.model_folder import (
    ModelFolder,
    check_plans_are_complete,
    load_predictor,
    open_model_folder,
    plans_errors_explained,
)
from nnunet_missingmod.inference.prediction import Prediction, check_finite
from nnunet_missingmod.inference.uncertainty import CaseUncertainty
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor

# Shorter starts of file names (t, T1, p1) are those of other patients' files too.
_SHORTEST_NAME = 3


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device; ``"auto"`` is the GPU if there is one, else the CPU.

    Raises:
        ValueError: torch does not know the device, or this machine does not have it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"Unknown device {device!r}: give cuda, cuda:1, mps or cpu.") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(chosen.type, False) or (
        chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    ):
        raise ValueError(f"There is no device {str(chosen)!r} here: give cpu, or mend the driver.")
    return chosen


def assign_names(images: Mapping[str, str | os.PathLike[str]], names: Sequence[str]) -> dict[int, Path]:
    """Return {channel: file} in channel order.

    Give an image that holds all J channels (RGB) as the file of the first channel, as in nnU-Net.

    Raises:
        ValueError: a name is not exactly that of a channel, two names have the same file, or there is no image.
    """
    listed = ", ".join(names)
    if not images:
        raise ValueError(f"No modality is given. Give at least one of: {listed}.")
    for name in images:
        if name not in names:
            near = difflib.get_close_matches(name.casefold(), {n.casefold(): n for n in names}, n=1)
            suggestion = next((f" Did you mean {n!r}?" for n in names if near and n.casefold() == near[0]), "")
            raise ValueError(f"The model has no modality {name!r}.{suggestion} Its modalities are: {listed}.")
    files = {names.index(name): Path(file) for name, file in images.items()}
    first: dict[Path, int] = {}
    for channel, file in sorted(files.items()):
        other = first.setdefault(file.resolve(), channel)
        if other != channel:
            raise ValueError(f"{file} is given as {names[other]} and as {names[channel]}. Give each modality its own.")
    return dict(sorted(files.items()))


def common_name(files: Sequence[Path], names: Sequence[str] = ()) -> str:
    """Return a name for the case of some files that tells it from other patients' cases.

    It is what the file names have in common, up to a separator. If that is short, a modality's name or the start of
    UIDs, which other patients' files have as well, it is the name of the folder that holds the files.

    Args:
        files: of the case.
        names: of the model's modalities.
    """
    plain = [re.sub(r"(\.nii|\.gipl)?\.[a-zA-Z]\w*$", "", file.name) for file in files]
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


class Predictor:
    """A trained model that segments cases, whatever modalities they have.

    nnU-Net itself does the sliding window, mirroring, the mean over folds and the resampling to the original geometry,
    so the result is that of ``nnUNetv2_predict``, bit for bit. No code from the model folder is executed.

    Args:
        model: as ``open_model_folder`` returns it.
        host: nnU-Net's predictor, initialised with that model.
        overrides: values that replace the model's own of ``choices.FILE_KEYS``.

    Attributes:
        choices: the model's, with the overrides.
        reader: nnU-Net's reader and writer for the model's file format.
        expected: the accuracy to expect for each subset of modalities, or None if the model has no card.
        uncertainty: what the card tells of single cases, or None.
    """

    def __init__(
        self, model: ModelFolder, host: FoldLabelsPredictor, *, overrides: Mapping[str, Any] | None = None
    ) -> None:
        self.model = model
        self.overrides = dict(overrides or {})
        file_keys = [key.name for key in FILE_KEYS]
        others = sorted(set(self.overrides) - set(file_keys))
        if others:
            raise ValueError(f"Only {', '.join(file_keys)} can be overridden, not {', '.join(others)}.")
        self._host = host
        configuration = model.configuration_manager.configuration
        own = plans_block.resolve(configuration.get(plans_block.BLOCK))
        self.choices = plans_block.resolve({**own, **self.overrides})
        # The model's own configuration is not changed, because the overrides must not change its fingerprint.
        self._configuration = ConfigurationManager({**configuration, plans_block.BLOCK: self.choices})
        self._preprocessor = MissingModPreprocessor(verbose=False)
        self.reader = model.plans_manager.image_reader_writer_class()
        self.expected = ExpectedAccuracy.of_model(model)
        self.uncertainty = CaseUncertainty(self.expected.card, model, **self.window) if self.expected else None
        host.notes_folds = self.uncertainty is not None and FOLDS in self.uncertainty.usable

    @classmethod
    def from_model_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        folds: Fold | Sequence[Fold] | None = None,
        checkpoint: str = FINAL,
        device: str | torch.device = "auto",
        tile_step_size: float = 0.5,
        mirroring: bool = True,
        show_progress: bool = False,
        overrides: Mapping[str, Any] | None = None,
    ) -> Predictor:
        """Load a model.

        Args:
            folder: ``TRAINER__PLANS__CONFIGURATION`` as nnU-Net writes it.
            folds: the folds whose predictions are averaged; by default all numbered ones.
            checkpoint: name of the file in each fold's folder.
            device: ``"cuda"``, ``"cuda:1"``, ``"cpu"``, ``"mps"``; ``"auto"`` is the GPU if there is one, else the CPU.
            tile_step_size: step of the sliding window as a share of the patch.
            mirroring: whether predictions of mirrored images are averaged, along the axes that the training allows.
            show_progress: show a progress bar of the sliding window.
            overrides: values that replace the model's own of ``choices.FILE_KEYS``.

        Raises:
            ModelFolderError: the folder is incomplete or damaged, a checkpoint contains code, or weights and plans do
                not fit each other.
            ValueError: the device does not exist, or an override is not accepted.
        """
        chosen = choose_device(device)
        if isinstance(folds, int | str):
            folds = [folds]
        with plans_errors_explained(folder):
            model = open_model_folder(folder, folds=folds, checkpoint_name=checkpoint)
            check_plans_are_complete(model)
            host = load_predictor(
                model,
                device=chosen,
                kind=FoldLabelsPredictor,
                tile_step_size=tile_step_size,
                use_mirroring=mirroring,
                show_progress=show_progress,
            )
        return cls(model, host, overrides=overrides)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modality names that ``predict`` accepts, in channel order."""
        return self.model.modalities

    @property
    def device(self) -> torch.device:
        """The device on which the network runs."""
        return self._host.device

    @property
    def window(self) -> dict[str, Any]:
        """The settings of the sliding window: ``tile_step_size`` and ``mirroring``."""
        return {"tile_step_size": self._host.tile_step_size, "mirroring": self._host.use_mirroring}

    def predict(
        self,
        images: Mapping[str, str | os.PathLike[str]],
        *,
        case: str | None = None,
        probabilities: bool = False,
        previous_stage: str | os.PathLike[str] | None = None,
        uncertainty: bool = False,
    ) -> Prediction:
        """Segment one case.

        Args:
            images: {modality name: file} of the present modalities, ``{"T1": "a.nii.gz", "FLAIR": "b.nii.gz"}``.
            case: its name, for messages; by default as `common_name` calls it.
            probabilities: whether the result has probabilities too.
            previous_stage: in a cascade, the previous stage's prediction.
            uncertainty: whether to compare it with the predictions from one modality less, for the interval of this
                case's Dice; each modality costs a further prediction.

        Raises:
            ValueError: a name is not one of ``modalities``.
            CaseRefusedError: a file cannot be used; the message names the modality and the fix.
        """
        files = assign_names(images, self.modalities)
        return self.predict_files(
            files,
            case=case or common_name(list(files.values()), self.modalities),
            probabilities=probabilities,
            previous_stage=Path(previous_stage) if previous_stage is not None else None,
            uncertainty=uncertainty,
        )

    def predict_files(
        self,
        files: Mapping[int, Path],
        *,
        case: str,
        probabilities: bool = False,
        previous_stage: Path | None = None,
        uncertainty: bool = False,
    ) -> Prediction:
        """Segment one case given as {channel: file}; see `predict`.

        Raises:
            CaseRefusedError: a file cannot be used; the message names case, modality and fix.
        """
        self._check_previous_stage(case, previous_stage)
        self._check_tiff_names(case, files)
        array, probability_maps, properties = self._segment(files, case, previous_stage, probabilities)
        report = properties[plans_block.BLOCK]
        present = tuple(report["present"])
        expected = None
        if self.expected and self.uncertainty:
            this_case = self.uncertainty.of_case(
                array,
                {self.modalities[channel]: file for channel, file in files.items()},
                present,
                of_folds=self._host.labels_of_folds(),
                segment=partial(self._segment_named, case=case) if uncertainty else None,
            )
            expected = {**self.expected.as_json(present), **({"this_case": this_case} if this_case else {})}
        return Prediction(
            case=case,
            array=array,
            probabilities=probability_maps,
            present=present,
            report=report,
            expected_dice=expected,
            properties=properties,
            reader=self.reader,
        )

    def _segment(
        self, files: Mapping[int, Path], case: str, previous_stage: Path | None, probabilities: bool
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Return the label map of a case, its probabilities or None, and the properties of its first file."""
        manager, configuration = self.model.plans_manager, self._configuration
        with threads_restored(), TIMED_ALGORITHMS.in_use() if self.device.type == "cuda" else nullcontext():
            data, seg, properties = self._preprocessor.run_assigned_case(
                files,
                str(previous_stage) if previous_stage is not None else None,
                manager,
                configuration,
                self.model.dataset_json,
                case=case,
            )
            if previous_stage is not None:
                labels = self.model.label_manager.foreground_labels
                data = np.vstack((data, convert_labelmap_to_one_hot(seg[0], labels, data.dtype)))
            logits = self._host.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
            check_finite(logits, case)
            result = convert_predicted_logits_to_segmentation_with_correct_shape(
                logits, manager, configuration, self.model.label_manager, properties, probabilities
            )
        array, probability_maps = result if probabilities else (result, None)
        return array, probability_maps, properties

    def _segment_named(self, images: Mapping[str, Path], *, case: str) -> Any:
        """Return the label map from some of a case's modalities, without a previous stage."""
        return self._segment(assign_names(images, self.modalities), case, None, False)[0]

    def _check_tiff_names(self, case: str, files: Mapping[int, Path]) -> None:
        if not isinstance(self.reader, Tiff3DIO):
            return
        for channel, file in files.items():
            if not has_channel_suffix(file):
                raise CaseRefusedError(
                    case,
                    f"{file} ({self.modalities[channel]}) must be called CASE_{channel:04d}{file.suffix}: the spacing "
                    "of 3-D TIFF files is looked up in CASE.json.",
                )

    def _check_previous_stage(self, case: str, previous_stage: Path | None) -> None:
        stage = self.model.configuration_manager.previous_stage_name
        if stage is not None and previous_stage is None:
            raise CaseRefusedError(
                case,
                f"{self.model.configuration} is the second stage of a cascade and needs the prediction of {stage} "
                "(previous_stage, or -prev_stage_predictions FOLDER).",
            )
        if stage is None and previous_stage is not None:
            raise CaseRefusedError(
                case, f"{self.model.configuration} has no previous stage; leave {previous_stage} out."
            )
