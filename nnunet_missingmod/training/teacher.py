"""The frozen teacher: any finished model of the same data, stock nnU-Net's included.

It is no ``nn.Module`` and no attribute of one, so that it can be neither trained, nor synchronised between processes,
nor end up in the student's weights.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.networks.feature_taps import forward_with_encoder_features
from nnunet_missingmod.training.step import TeacherOutput
from nnunet_missingmod.training.teacher_folder import Student, TeacherError, TeacherFolder, check_teacher, find_teacher

# What nnU-Net's checkpoints hold beside tensors and plain containers: logged numbers.
_ALLOWED: list[Any] = [
    np.dtype,
    np.ndarray,
    np.float64(0).__reduce__()[0],
    np.zeros(0).__reduce__()[0],
    *(type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)),
]


class Teacher:
    """A network in evaluation mode that nothing changes.

    Args:
        network: with an encoder and a decoder, deep supervision off.
        source: where it comes from, for messages.

    Attributes:
        fingerprint: of the weights, by which a continued training knows its teacher.
    """

    def __init__(self, network: nn.Module, source: str) -> None:
        self._network = network.eval().requires_grad_(False)
        self.source = source
        self.fingerprint = _fingerprint(network)

    def __call__(self, data: torch.Tensor, complete: torch.Tensor) -> TeacherOutput:
        """Return logits and features of a batch before dropout, without gradients.

        Args:
            data: (B, J + E, *spatial), absent modalities marked.
            complete: (B,) bool on the same device.
        """
        with torch.no_grad():
            logits, encoder = forward_with_encoder_features(self._network, data)
        assert isinstance(logits, torch.Tensor)
        return TeacherOutput(logits, encoder, complete)

    def encoder_channels(self) -> Sequence[int]:
        """Return the number of channels of each encoder level."""
        encoder: Any = self._network.encoder
        return tuple(encoder.output_channels)


def load_teacher(student: Student, choice: str, *, device: torch.device) -> Teacher:
    """Find, check and load the teacher, on ``device``.

    Raises:
        TeacherError: it is missing, torn, unfinished, of other data, or its checkpoint holds code.
    """
    found = find_teacher(student, choice)
    checkpoint = _load_checkpoint(found.checkpoint, student.command(found.trainer))
    init_args = checkpoint.get("init_args", {})
    plans_manager = PlansManager(found.plans)
    if student.configuration not in plans_manager.available_configurations:
        raise TeacherError(
            f"The teacher in {found.folder} knows no configuration {student.configuration}; its plans have "
            f"{', '.join(plans_manager.available_configurations)}. "
            f"Train the right one with: {student.command(found.trainer)}"
        )
    configuration = plans_manager.get_configuration(student.configuration)
    check_teacher(student, found, teacher_configuration=configuration.configuration, trained_as=init_args)
    network = _build(found, checkpoint, student.configuration, plans_manager)
    return Teacher(network.to(device), source=f"{checkpoint['trainer_name']} in {found.checkpoint}")


def _fingerprint(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _load_checkpoint(file: Path, command: str) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            checkpoint: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TeacherError(
            f"The teacher's checkpoint {file} is damaged or holds something else than weights, and was not executed: "
            f"{error}. Train it again with: {command}"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise TeacherError(
            f"The teacher's checkpoint {file} cannot be read, perhaps its training was killed while saving: {error}. "
            f"Train it again with: {command}"
        ) from error
    missing = {"network_weights", "trainer_name", "init_args"} - set(checkpoint)
    if missing:
        raise TeacherError(f"{file} is not a checkpoint of nnU-Net: it has no {', '.join(sorted(missing))}.")
    return checkpoint


def _build(
    found: TeacherFolder, checkpoint: dict[str, Any], configuration_name: str, plans_manager: PlansManager
) -> nn.Module:
    trainer = _find_trainer(checkpoint["trainer_name"], found)
    configuration = plans_manager.get_configuration(configuration_name)
    try:
        network: nn.Module = trainer.build_network_architecture(
            plans_manager,
            configuration,
            determine_num_input_channels(plans_manager, configuration, found.dataset_json),
            plans_manager.get_label_manager(found.dataset_json).num_segmentation_heads,
            enable_deep_supervision=False,
        )
        network.load_state_dict(checkpoint["network_weights"])
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise TeacherError(f"The weights in {found.checkpoint} do not fit its plans: {error}") from error
    return network


def _find_trainer(name: str, found: TeacherFolder) -> Any:
    # nnU-Net's search imports every module on its way, and sees ours only where they are attached.
    if name in CLASS_TABLE:
        return getattr(import_module(CLASS_TABLE[name]), name)
    try:
        return recursive_find_trainer_class_by_name(name)
    except RuntimeError as error:
        raise TeacherError(
            f"The teacher in {found.folder} was trained by {name}, which is not installed: {error}"
        ) from error
