"""Opens the folder of a trained model, stock nnU-Net's included: its plans, dataset.json, folds and weights.

Prediction and evaluation start here. Every model gets its cases from ``MissingModPreprocessor``. A network that does
not know the absence mark gets zeros in place of absent channels, after normalisation.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import torch
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import LabelManager, determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_missingmod.cases.files import used_files
from nnunet_missingmod.host import CLASS_TABLE, HOST_PREPROCESSOR, PREPROCESSOR
from nnunet_missingmod.inference.model_files import (
    FINAL,
    Fold,
    ModelFolderError,
    check_dataset_is_the_trainings,
    choose_folds,
    read_model_json,
)
from nnunet_missingmod.inference.plans_check import check_imported_names, check_mirroring_axes, check_values
from nnunet_missingmod.modalities import channel_names
from nnunet_missingmod.networks.backbone import fill_absent_channels
from nnunet_missingmod.plans_block import BLOCK, subset_channels
from nnunet_missingmod.sharing.local import local_folder
from nnunet_missingmod.storage import fingerprint
from nnunet_missingmod.training.checkpoints import (
    CheckpointError,
    TornCheckpointError,
    find_trainer,
    is_ours,
    read_checkpoint,
)
from nnunet_missingmod.training.trainer import MissingModTrainer
from nnunet_missingmod.training.weights import load_weights

# For whoever changes the settings of cuDNN, which are those of the whole process.
CUDNN_LOCK = Lock()

Predictor = TypeVar("Predictor", bound=nnUNetPredictor)


@dataclass(frozen=True)
class ModelFolder:
    """The content of a model folder, read and checked; ``load_predictor`` builds the network from it.

    Attributes:
        folder: ``TRAINER__PLANS__CONFIGURATION`` as nnU-Net writes it; it may have another name.
        folds: the requested ones, or all that have the checkpoint.
        checkpoint_name: the file in each fold's folder.
        plans: the folder's, with the configuration's preprocessor replaced by this package's.
        dataset_json: the folder's.
        trainer, configuration: their names in the checkpoint.
        is_ours: whether a trainer of this package, or one derived from it, trained the model.
        modalities: their names in channel order.
        weights: the network weights of each fold, on the CPU.
        mirroring_axes: the axes that the training allows, or None.
    """

    folder: Path
    folds: tuple[Fold, ...]
    checkpoint_name: str
    plans: dict[str, Any] = field(repr=False)
    dataset_json: dict[str, Any] = field(repr=False)
    trainer: str
    configuration: str
    is_ours: bool
    modalities: tuple[str, ...]
    weights: tuple[dict[str, Any], ...] = field(repr=False)
    mirroring_axes: tuple[int, ...] | None

    @property
    def taken_for(self) -> str:
        """The trainer, and what is done about absent modalities if it is none of this package."""
        if self.is_ours:
            return self.trainer
        other = f', not this package\'s, as its plans have no "{BLOCK}" block' if self.trainer in CLASS_TABLE else ""
        return f"{self.trainer} (stock nnU-Net{other}: zeros in place of absent modalities)"

    @property
    def trained_on(self) -> tuple[int, ...] | None:
        """The channels that it was trained on alone (``modality_subset``); None for all."""
        block = self.configuration_manager.configuration.get(BLOCK, {}) if self.is_ours else {}
        subset = subset_channels({"modality_subset": block.get("modality_subset", "all")}, self.modalities)
        return None if subset == "all" else tuple(map(int, subset))

    def used_of(self, files: Mapping[int, Any]) -> dict[int, Any]:
        """Return those of a case's {channel: file} that the model was trained on; see `used_files`."""
        return used_files(files, self.trained_on)

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoint of each fold."""
        return [self.folder / f"fold_{fold}" / self.checkpoint_name for fold in self.folds]

    @property
    def file_ending(self) -> str:
        """``file_ending`` of dataset.json."""
        return str(self.dataset_json["file_ending"])

    @cached_property
    def plans_manager(self) -> PlansManager:
        """nnU-Net's plans manager, whose configuration has this package's preprocessor."""
        return PlansManager(self.plans)

    @cached_property
    def configuration_manager(self) -> ConfigurationManager:
        """nnU-Net's configuration manager for the model's configuration."""
        return self.plans_manager.get_configuration(self.configuration)

    @cached_property
    def label_manager(self) -> LabelManager:
        """nnU-Net's label manager."""
        return self.plans_manager.get_label_manager(self.dataset_json)

    @cached_property
    def fold_fingerprints(self) -> dict[str, str]:
        """SHA-256 of all that determines the predictions of each fold: weights, plans, dataset.json, settings."""
        settings = [self.trainer, self.configuration, self.mirroring_axes]
        return {
            str(fold): fingerprint(self.plans, self.dataset_json, settings, weights=weights)
            for fold, weights in zip(self.folds, self.weights, strict=True)
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that determines the predictions of the folds together."""
        return fingerprint_of_folds(self.fold_fingerprints)


def fingerprint_of_folds(fold_fingerprints: Mapping[str, str]) -> str:
    """Return the SHA-256 of several folds' fingerprints, {fold: fingerprint}, in the order in which they are used."""
    return hashlib.sha256(json.dumps(dict(fold_fingerprints)).encode()).hexdigest()


def open_model_folder(
    folder: str | os.PathLike[str], *, folds: Sequence[Fold] | None = None, checkpoint_name: str = FINAL
) -> ModelFolder:
    """Read a model folder.

    Args:
        folder: holds plans.json, dataset.json and ``fold_X`` folders with a checkpoint each; or a shared model, see
            ``local_folder``.
        folds: numbers, or ``"all"``; by default every numbered fold that has the checkpoint, else ``"all"``.
        checkpoint_name: the file in each fold's folder.

    Raises:
        ModelFolderError: something is missing or cannot be read, the folds do not belong together, dataset.json is
            not that of the training, the plans' own preprocessor cannot be replaced, or they name a network of
            another package.
        SharedModelError: a shared model is torn or was changed, or cannot be downloaded.
    """
    folder = local_folder(folder)
    if not folder.is_dir():
        raise ModelFolderError(f"There is no model folder {folder}.")
    dataset_json, plans = (read_model_json(folder, name) for name in ("dataset.json", "plans.json"))
    chosen = choose_folds(folder, folds, checkpoint_name)
    heads: set[tuple[str, str, bool]] = set()
    weights: list[dict[str, Any]] = []
    mirroring_axes: tuple[int, ...] | None = None
    for fold in chosen:
        try:
            checkpoint = read_checkpoint(folder / f"fold_{fold}" / checkpoint_name)
        except CheckpointError as error:
            # What holds more than weights, or is none of nnU-Net's, is not mended by training.
            fix = " Train this fold again." if isinstance(error, TornCheckpointError) else ""
            raise ModelFolderError(f"Model {folder}, fold {fold}: {error}{fix}") from error
        configuration = str(checkpoint["init_args"]["configuration"])
        plans = _with_preprocessor(plans, configuration, folder)
        manager = PlansManager(plans).get_configuration(configuration)
        check_imported_names(manager, folder)
        resolved = manager.configuration
        check_dataset_is_the_trainings(folder, dataset_json, checkpoint["init_args"].get("dataset_json"))
        heads.add((str(checkpoint["trainer_name"]), configuration, is_ours(checkpoint, resolved)))
        axes = check_mirroring_axes(
            checkpoint.get("inference_allowed_mirroring_axes"), manager, folder / f"fold_{fold}"
        )
        mirroring_axes = mirroring_axes if weights else axes
        weights.append(checkpoint["network_weights"])
    if len(heads) > 1:
        raise ModelFolderError(f"The folds of {folder} were trained differently: {sorted(heads)}.")
    ((trainer, configuration, ours),) = heads
    block = plans["configurations"][configuration].get(BLOCK)
    if not ours and isinstance(block, dict) and "modality_subset" in block:
        block["modality_subset"] = "all"  # nobody else's trainer knows the key
    try:
        modalities = channel_names(dataset_json)
    except ValueError as error:
        raise ModelFolderError(f"Model {folder}: {error}") from error
    return ModelFolder(
        folder=folder,
        folds=chosen,
        checkpoint_name=checkpoint_name,
        plans=plans,
        dataset_json=dataset_json,
        trainer=trainer,
        configuration=configuration,
        is_ours=ours,
        modalities=modalities,
        weights=tuple(weights),
        mirroring_axes=mirroring_axes,
    )


def load_predictor(
    model: ModelFolder,
    *,
    device: torch.device,
    kind: type[Predictor],
    tile_step_size: float = 0.5,
    use_mirroring: bool = True,
    show_progress: bool = False,
) -> Predictor:
    """Return nnU-Net's predictor, or a subclass of it, with the model's network and weights of all folds.

    Args:
        device: where the network runs.
        kind: ``nnUNetPredictor`` or a subclass that is built with the same arguments.
        tile_step_size: the step of the sliding window, nnU-Net's ``-step_size``.
        use_mirroring: average over mirrored images, along the axes that the training allows; nnU-Net does so without
            ``--disable_tta``.
        show_progress: show a progress bar of the sliding window.

    Raises:
        ModelFolderError: the trainer is not installed, or the weights do not fit the plans.
    """
    try:
        trainer = find_trainer(model.trainer, ours=model.is_ours)
        network = trainer.build_network_architecture(
            model.plans_manager,
            model.configuration_manager,
            determine_num_input_channels(model.plans_manager, model.configuration_manager, model.dataset_json),
            model.label_manager.num_segmentation_heads,
            enable_deep_supervision=False,
        )
        for weights in reversed(model.weights):  # checks all folds; the first fold's weights stay, as in nnU-Net
            load_weights(network, weights)
    except KeyError as error:
        raise ModelFolderError(
            f"The network of {model.folder} cannot be built: its plans.json has no entry {error}, which the trainer of "
            f"its checkpoint, {model.trainer}, wrote there. Put plans.json and the checkpoint of one training together."
        ) from error
    except (CheckpointError, RuntimeError, TypeError, ValueError) as error:
        raise ModelFolderError(f"The network of {model.folder} cannot be built: {error}") from error
    if not issubclass(trainer, MissingModTrainer):
        network = fill_absent_channels(network)
    # Built for CUDA, it does not print that it is built for something else, which cannot be switched off; redirecting
    # the output would hide what other threads print. It changes a setting of the whole process, which is set back.
    with CUDNN_LOCK:
        before = torch.backends.cudnn.benchmark
        predictor = kind(
            tile_step_size=tile_step_size,
            use_mirroring=use_mirroring,
            perform_everything_on_device=device.type == "cuda",
            device=torch.device("cuda"),
            allow_tqdm=show_progress,
        )
        torch.backends.cudnn.benchmark = before
    predictor.device = device
    predictor.manual_initialization(
        network,
        model.plans_manager,
        model.configuration_manager,
        list(model.weights),
        model.dataset_json,
        model.trainer,
        model.mirroring_axes,
    )
    return predictor


def _with_preprocessor(plans: dict[str, Any], configuration: str, folder: Path) -> dict[str, Any]:
    plans = deepcopy(plans)
    if configuration not in plans.get("configurations", {}):
        raise ModelFolderError(f"plans.json of {folder} has no configuration {configuration}.")
    named = PlansManager(plans).get_configuration(configuration).configuration["preprocessor_name"]
    if named not in (HOST_PREPROCESSOR, PREPROCESSOR):
        raise ModelFolderError(
            f"The preprocessor {named!r} of {folder} does not know absent modalities, and cannot be replaced by "
            f"{PREPROCESSOR} without changing what the model was trained on."
        )
    plans["configurations"][configuration]["preprocessor_name"] = PREPROCESSOR
    return plans


@contextlib.contextmanager
def plans_errors_explained(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Replace errors that nnU-Net raises for incomplete plans by one that names the model folder and the fix.

    Raises:
        ModelFolderError: in place of whatever nnU-Net raises. A ValueError, which says what is wrong, passes unchanged;
            so do an OSError and an error for want of memory, for which the files are not to blame.
    """
    try:
        yield
    except (ValueError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ModelFolderError(
            f"plans.json or dataset.json of {folder} cannot be used ({type(error).__name__}: {error}). Restore what "
            "the training wrote."
        ) from error


def check_plans_are_complete(model: ModelFolder) -> None:
    """Check every entry of the plans that prediction needs, so that a wrong one is an error before the first case.

    Raises:
        ModelFolderError: a value is none that nnU-Net can use.
        KeyError, AttributeError and others: as nnU-Net does for a missing entry; see ``plans_errors_explained``.
    """
    manager, configuration = model.plans_manager, model.configuration_manager
    check_values(manager, configuration, model.folder, num_modalities=len(model.modalities))
    for source, names in (
        (manager, ("image_reader_writer_class", "transpose_forward", "transpose_backward")),
        (manager, ("foreground_intensity_properties_per_channel",)),
        (configuration, ("patch_size", "spacing", "normalization_schemes", "use_mask_for_norm")),
        (configuration, ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities")),
        (configuration, ("previous_stage_name", "network_arch_class_name")),
        (model, ("label_manager", "file_ending")),
    ):
        for name in names:
            getattr(source, name)
    reader = manager.image_reader_writer_class
    if not (isinstance(reader, type) and issubclass(reader, BaseReaderWriter)):
        raise ModelFolderError(
            f"image_reader_writer in plans.json of {model.folder} is {manager.plans.get('image_reader_writer')!r}, "
            "which is none of nnU-Net's readers. Restore what the training wrote."
        )
