"""A trained model's folder, opened for prediction: plans, dataset, folds, weights; stock nnU-Net's models included.

Whatever trained the model, incomplete cases go through ``MissingModPreprocessor``, and a network that does not
know the absence mark sees zeros in place of absent channels, after normalisation.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import LabelManager, determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_missingmod.inference.model_files import FINAL, Fold, ModelFolderError, choose_folds, read_model_json
from nnunet_missingmod.modalities import channel_names
from nnunet_missingmod.networks.backbone import fill_absent_channels
from nnunet_missingmod.storage import fingerprint
from nnunet_missingmod.training.checkpoints import CheckpointError, find_trainer, read_checkpoint
from nnunet_missingmod.training.trainer import PREPROCESSOR, MissingModTrainer

_HOST_PREPROCESSOR = "DefaultPreprocessor"

Predictor = TypeVar("Predictor", bound=nnUNetPredictor)


@dataclass(frozen=True)
class ModelFolder:
    """What lies in a model folder, read and checked; its weights are read by ``load_predictor``.

    Attributes:
        folder: ``TRAINER__PLANS__CONFIGURATION`` as nnU-Net writes it, under any name.
        folds: those asked for, or all that have the checkpoint.
        checkpoint_name: the file in each fold's folder.
        plans: as in the folder, with the configuration's preprocessor replaced by this package's.
        dataset_json: as in the folder.
        trainer, configuration: as the checkpoint tells.
        modalities: their names in channel order.
        weights: of each fold, on the CPU.
        mirroring_axes: those that the training allows, or None.
    """

    folder: Path
    folds: tuple[Fold, ...]
    checkpoint_name: str
    plans: dict[str, Any] = field(repr=False)
    dataset_json: dict[str, Any] = field(repr=False)
    trainer: str
    configuration: str
    modalities: tuple[str, ...]
    weights: tuple[dict[str, Any], ...] = field(repr=False)
    mirroring_axes: tuple[int, ...] | None

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
        """nnU-Net's, whose configuration has this package's preprocessor."""
        return PlansManager(self.plans)

    @cached_property
    def configuration_manager(self) -> ConfigurationManager:
        """nnU-Net's, of the model's configuration."""
        return self.plans_manager.get_configuration(self.configuration)

    @cached_property
    def label_manager(self) -> LabelManager:
        """nnU-Net's."""
        return self.plans_manager.get_label_manager(self.dataset_json)

    @cached_property
    def fold_fingerprints(self) -> dict[str, str]:
        """SHA-256 of everything that decides the predictions of each fold: weights, plans, dataset.json."""
        settings = [self.trainer, self.configuration, self.mirroring_axes]
        return {
            str(fold): fingerprint(self.plans, self.dataset_json, settings, weights=weights)
            for fold, weights in zip(self.folds, self.weights, strict=True)
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the predictions of the folds together."""
        return hashlib.sha256(json.dumps(self.fold_fingerprints).encode()).hexdigest()


def open_model_folder(
    folder: str | os.PathLike[str], *, folds: Sequence[Fold] | None = None, checkpoint_name: str = FINAL
) -> ModelFolder:
    """Read a model folder.

    Args:
        folder: holds plans.json, dataset.json and ``fold_X`` folders with a checkpoint each.
        folds: numbers, or ``"all"``; by default every numbered fold that has the checkpoint, else ``"all"``.
        checkpoint_name: the file in each fold's folder.

    Raises:
        ModelFolderError: something is missing or cannot be read, the folds do not belong together, or the plans' own
            preprocessor cannot be replaced.
    """
    folder = Path(folder)
    dataset_json, plans = (read_model_json(folder, name) for name in ("dataset.json", "plans.json"))
    chosen = choose_folds(folder, folds, checkpoint_name)
    heads: set[tuple[str, str]] = set()
    weights: list[dict[str, Any]] = []
    mirroring_axes: tuple[int, ...] | None = None
    for fold in chosen:
        try:
            checkpoint = read_checkpoint(folder / f"fold_{fold}" / checkpoint_name)
        except CheckpointError as error:
            raise ModelFolderError(f"Model {folder}, fold {fold}: {error} Train this fold again.") from error
        heads.add((str(checkpoint["trainer_name"]), str(checkpoint["init_args"]["configuration"])))
        axes = checkpoint.get("inference_allowed_mirroring_axes")
        mirroring_axes = mirroring_axes if weights else None if axes is None else tuple(int(axis) for axis in axes)
        weights.append(checkpoint["network_weights"])
    if len(heads) > 1:
        raise ModelFolderError(f"The folds of {folder} were trained differently: {sorted(heads)}.")
    ((trainer, configuration),) = heads
    try:
        modalities = channel_names(dataset_json)
    except ValueError as error:
        raise ModelFolderError(f"Model {folder}: {error}") from error
    return ModelFolder(
        folder=folder,
        folds=chosen,
        checkpoint_name=checkpoint_name,
        plans=_with_preprocessor(plans, configuration, folder),
        dataset_json=dataset_json,
        trainer=trainer,
        configuration=configuration,
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
        tile_step_size: of the sliding window, as nnU-Net's ``-step_size``.
        use_mirroring: over the axes that the training allows, as nnU-Net does without ``--disable_tta``.
        show_progress: of the sliding window.

    Raises:
        ModelFolderError: the trainer is not installed, or the weights do not fit the plans.
    """
    try:
        trainer = find_trainer(model.trainer)
        network = trainer.build_network_architecture(
            model.plans_manager,
            model.configuration_manager,
            determine_num_input_channels(model.plans_manager, model.configuration_manager, model.dataset_json),
            model.label_manager.num_segmentation_heads,
            enable_deep_supervision=False,
        )
        for weights in reversed(model.weights):  # each must fit; the first fold's stay, as with nnU-Net
            network.load_state_dict(weights)
    except (CheckpointError, RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ModelFolderError(f"The network of {model.folder} cannot be built: {error}") from error
    if not issubclass(trainer, MissingModTrainer):
        network = fill_absent_channels(network)
    # The constructor prints that a device other than CUDA keeps results on the CPU, whatever it is told.
    with contextlib.redirect_stdout(io.StringIO()):
        predictor = kind(
            tile_step_size=tile_step_size,
            use_mirroring=use_mirroring,
            perform_everything_on_device=device.type == "cuda",
            device=device,
            allow_tqdm=show_progress,
        )
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
    if named not in (_HOST_PREPROCESSOR, PREPROCESSOR):
        raise ModelFolderError(
            f"The preprocessor {named!r} of {folder} does not know absent modalities, and cannot be replaced by "
            f"{PREPROCESSOR} without changing what the model was trained on."
        )
    plans["configurations"][configuration]["preprocessor_name"] = PREPROCESSOR
    return plans


@contextlib.contextmanager
def naming_the_plans(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the host raises over plans that lack something into a message that names them.

    Raises:
        ModelFolderError: in place of what is no ValueError.
    """
    try:
        yield
    except ValueError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, AssertionError, ImportError) as error:
        raise ModelFolderError(
            f"plans.json or dataset.json of {folder} cannot be used ({type(error).__name__}: {error}). Restore what "
            "the training wrote."
        ) from error


def touch_plans(model: ModelFolder) -> None:
    """Read what prediction will need of the plans, so that what is missing is missed before the first case."""
    manager, configuration = model.plans_manager, model.configuration_manager
    for holder, names in (
        (manager, ("image_reader_writer_class", "transpose_forward", "transpose_backward")),
        (manager, ("foreground_intensity_properties_per_channel",)),
        (configuration, ("patch_size", "spacing", "normalization_schemes", "use_mask_for_norm")),
        (configuration, ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities")),
        (configuration, ("previous_stage_name", "network_arch_class_name")),
        (model, ("label_manager", "file_ending")),
    ):
        for name in names:
            getattr(holder, name)
