"""``Predictor``: a trained model that turns the files of a case into its segmentation, by nnU-Net's own predictor.

``prediction`` saves the result; ``batch`` predicts whole folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from nnunet_missingmod.cases.memory import MemoryImage
from nnunet_missingmod.cases.reorientation import Reorientation
from nnunet_missingmod.choices import FILE_KEYS
from nnunet_missingmod.evaluation.agreement import FOLDS
from nnunet_missingmod.inference.advise import ExpectedAccuracy
from nnunet_missingmod.inference.device import choose_device
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
from nnunet_missingmod.inference.named_images import NamedImage, assign_each, assign_names, common_name
from nnunet_missingmod.inference.overlap import overlapped
from nnunet_missingmod.inference.prediction import Prediction, check_finite
from nnunet_missingmod.inference.previous_stage import check_previous_stage, why_unmeasured
from nnunet_missingmod.inference.stages import InferredCase, PreparedCase
from nnunet_missingmod.inference.uncertainty import CaseUncertainty
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor


class Predictor:
    """A trained model that segments cases, whatever modalities they have.

    nnU-Net itself does the sliding window, mirroring, the mean over folds and the resampling to the original geometry,
    so the result is that of ``nnUNetv2_predict``: bit for bit on a CPU; on a GPU, where two runs of it may differ in
    last bits, that has not been compared. No code from the model folder is executed.

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
        self.expected = ExpectedAccuracy.of_model(model, window=self.window)
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
            folder: ``TRAINER__PLANS__CONFIGURATION`` as nnU-Net writes it, or a shared model, see ``local_folder``.
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
            SharedModelError: a shared model is torn or was changed, or cannot be downloaded.
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
        images: Mapping[str, NamedImage],
        *,
        case: str | None = None,
        probabilities: bool = False,
        previous_stage: str | os.PathLike[str] | None = None,
        uncertainty: bool = False,
    ) -> Prediction:
        """Segment one case.

        Args:
            images: {modality name: image} of the present modalities: paths, ``{"T1": "a.nii.gz"}``, SimpleITK images,
                or ``(array, spacing in mm)`` with the axes of ``GetArrayFromImage``, also mixed; an array lies at the
                origin. A name may be in another case than the model's, if that leaves no doubt.
            case: its name, for messages; by default as `common_name` calls it.
            probabilities: whether the result has probabilities too.
            previous_stage: in a cascade, the previous stage's prediction.
            uncertainty: whether to compare it with the predictions from one modality less, for the interval of this
                case's Dice; each modality costs a further prediction.

        Raises:
            ValueError: see `named_images.assign_names`; or ``previous_stage`` is no path.
            CaseRefusedError: a file cannot be used; the message names the modality and the fix.
        """
        files = assign_names(images, self.modalities)
        if not isinstance(previous_stage, str | os.PathLike | None):
            raise ValueError(
                f"previous_stage is the path of a file, got {type(previous_stage).__name__}: save it first."
            )
        return self.predict_files(
            files,
            case=case or common_name(list(files.values()), self.modalities),
            probabilities=probabilities,
            previous_stage=Path(previous_stage) if previous_stage is not None else None,
            uncertainty=uncertainty,
        )

    def predict_many(
        self,
        cases: Iterable[Mapping[str, NamedImage]],
        *,
        probabilities: bool = False,
        preparing: int = 2,
        finishing: int = 2,
    ) -> Iterator[Prediction | Exception]:
        """Segment cases one after the other, while the next ones are read and the last ones brought to their grids.

        The error that ends one case is yielded in its place and stops no other. Cases are asked for as there is room,
        so they may come from a queue, and memory holds ``preparing + finishing + 1`` of them.

        Args:
            cases: of each, what ``predict`` takes as ``images``. They are asked for in a thread, and arrays are copied
                before the next case is asked for.
            probabilities: whether the results have probabilities too.
            preparing: how many are read and preprocessed at once, each by a thread.
            finishing: the same of what comes after the network.

        Yields:
            For each case, in order, its prediction, or the error that ``predict`` would have raised.

        Raises:
            RuntimeError: the model is the second stage of a cascade, whose cases ``predict`` takes one by one.
            ValueError: ``preparing`` or ``finishing`` is below 1.
            BaseException: whatever ``cases`` raises, after the predictions of the cases before it.
        """
        if min(preparing, finishing) < 1:
            raise ValueError(f"preparing and finishing are 1 or more, got {preparing} and {finishing}.")
        if self.model.configuration_manager.previous_stage_name is not None:
            raise RuntimeError(f"{self.model.configuration} needs a previous stage's prediction: use predict.")

        def prepare(files: dict[int, Path | MemoryImage] | Exception) -> PreparedCase:
            if isinstance(files, Exception):
                raise files
            return self.prepare(files, case=common_name(list(files.values()), self.modalities))

        for _, future in overlapped(
            assign_each(cases, self.modalities),
            prepare=prepare,
            run=self.infer,
            finish=partial(self.finish, probabilities=probabilities),
            preparing=preparing,
            finishing=finishing,
        ):
            error = future.exception()
            assert error is None or isinstance(error, Exception)
            yield future.result() if error is None else error

    def predict_files(
        self,
        files: Mapping[int, Path | MemoryImage],
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
        prepared = self.prepare(files, case=case, previous_stage=previous_stage)
        return self.finish(self.infer(prepared), probabilities=probabilities, uncertainty=uncertainty)

    def prepare(
        self, files: Mapping[int, Path | MemoryImage], *, case: str, previous_stage: Path | None = None
    ) -> PreparedCase:
        """Read and preprocess a case given as {channel: file}; it may run in any thread.

        Raises:
            CaseRefusedError: see `predict_files`.
        """
        check_previous_stage(self.model, case, previous_stage)
        files = self.model.used_of(files)
        self._check_tiff_names(case, files)
        model, labels = self.model, self.model.label_manager
        stage, may_hold = None if previous_stage is None else str(previous_stage), labels.all_labels
        data, seg, properties = self._preprocessor.run_assigned_case(
            files, stage, model.plans_manager, self._configuration, model.dataset_json, case=case, labels=may_hold
        )
        if previous_stage is not None:
            data = np.vstack((data, convert_labelmap_to_one_hot(seg[0], labels.foreground_labels, data.dtype)))
            report = properties[plans_block.BLOCK]
            if self.expected and (why := why_unmeasured(self.expected.card, model, previous_stage, report["present"])):
                report["unmeasured"] = why
        return PreparedCase(case, files, torch.from_numpy(data), properties)

    def infer(self, prepared: PreparedCase) -> InferredCase:
        """Let the network segment a case; one at a time.

        Raises:
            CaseRefusedError: the network's output is not finite.
        """
        with threads_restored(), TIMED_ALGORITHMS.in_use() if self.device.type == "cuda" else nullcontext():
            logits = self._host.predict_logits_from_preprocessed_data(prepared.data).cpu()
        check_finite(logits, prepared.case)
        of_folds = tuple(self._host.labels_of_folds()) if self.uncertainty else ()
        return InferredCase(prepared.case, prepared.files, logits, prepared.properties, of_folds)

    def finish(self, inferred: InferredCase, *, probabilities: bool = False, uncertainty: bool = False) -> Prediction:
        """Bring a case's logits to its own grid; it may run in any thread, unless ``uncertainty`` needs the network."""
        array, probability_maps = self._on_own_grid(inferred, probabilities)
        properties = inferred.properties
        report = properties[plans_block.BLOCK]
        present = tuple(report["present"])
        expected = None
        if self.expected and self.uncertainty and "unmeasured" not in report:
            this_case = self.uncertainty.of_case(
                array,
                {self.modalities[channel]: file for channel, file in inferred.files.items()},
                present,
                of_folds=inferred.of_folds,
                segment=partial(self._segment_named, case=inferred.case) if uncertainty else None,
            )
            expected = {**self.expected.as_json(present), **({"this_case": this_case} if this_case else {})}
        turned = Reorientation.of(properties)
        return Prediction(
            case=inferred.case,
            array=turned.undo(array),
            probabilities=None if probability_maps is None else turned.undo(probability_maps),
            present=present,
            report=report,
            expected_dice=expected,
            properties=properties,
            reader=self.reader,
            dataset_json=self.model.dataset_json,
        )

    def _on_own_grid(self, inferred: InferredCase, probabilities: bool) -> tuple[Any, Any]:
        """Return the label map of a case, and its probabilities or None."""
        with threads_restored():
            result = convert_predicted_logits_to_segmentation_with_correct_shape(
                inferred.logits,
                self.model.plans_manager,
                self._configuration,
                self.model.label_manager,
                inferred.properties,
                probabilities,
            )
        return result if probabilities else (result, None)

    def _segment_named(self, images: Mapping[str, Path | MemoryImage], *, case: str) -> Any:
        """Return the label map from some of a case's modalities, without a previous stage."""
        prepared = self.prepare(assign_names(images, self.modalities), case=case)
        return self._on_own_grid(self.infer(prepared), probabilities=False)[0]

    def _check_tiff_names(self, case: str, files: Mapping[int, Path | MemoryImage]) -> None:
        if not isinstance(self.reader, Tiff3DIO):
            return
        for channel, file in files.items():
            if isinstance(file, Path) and not has_channel_suffix(file):
                raise CaseRefusedError(
                    case,
                    f"{file} ({self.modalities[channel]}) must be called CASE_{channel:04d}{file.suffix}: the spacing "
                    "of 3-D TIFF files is looked up in CASE.json.",
                )
