"""The frozen teacher: any finished model of the same data, stock nnU-Net's included.

It is no ``nn.Module`` and no attribute of one, so that it can be neither trained, nor synchronised between processes,
nor end up in the student's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from nnunet_missingmod.networks.multimodal import MultimodalNetwork, encoder_features, forward_with_encoder_features
from nnunet_missingmod.storage import fingerprint
from nnunet_missingmod.training.checkpoints import CheckpointError, find_trainer, read_checkpoint
from nnunet_missingmod.training.step import TeacherOutput
from nnunet_missingmod.training.teacher_folder import Student, TeacherError, TeacherFolder, check_teacher, find_teacher


class Teacher:
    """A network in evaluation mode that nothing changes.

    Args:
        network: with an encoder and a decoder, deep supervision off.
        source: where it comes from, for messages.
        returns_logits: whether a term is about them; otherwise the decoder is not run.

    Attributes:
        fingerprint: of the weights, by which a continued training knows its teacher.
    """

    def __init__(self, network: nn.Module, source: str, *, returns_logits: bool = True) -> None:
        self.returns_logits = returns_logits
        self._network = network.eval().requires_grad_(False)
        self.source = source
        self.fingerprint = fingerprint(weights=network.state_dict())

    def __call__(self, data: torch.Tensor, present: torch.Tensor) -> TeacherOutput:
        """Return features and, where they are wanted, logits of a batch before dropout, without gradients.

        Args:
            data: (B, J + E, *spatial), absent modalities marked.
            present: (B, J) bool, on the CPU: a GPU is not waited for.
        """
        complete = present.all(dim=1).to(data.device, non_blocking=True)
        # A stock network has to find the marks by itself.
        told = present if isinstance(self._network, MultimodalNetwork) else None
        with torch.no_grad():
            if not self.returns_logits:
                return TeacherOutput(None, encoder_features(self._network, data, told), complete)
            logits, encoder = forward_with_encoder_features(self._network, data, told)
        assert isinstance(logits, torch.Tensor)
        return TeacherOutput(logits, encoder, complete)

    def give_weights(self, student: nn.Module) -> None:
        """Copy the weights into a network that is built as the teacher's is.

        A stock network is built as a student's backbone is if nothing is before it: without channel encoder.

        Raises:
            TeacherError: it is built otherwise.
        """
        weights = self._network.state_dict()
        if isinstance(student, MultimodalNetwork) and not isinstance(self._network, MultimodalNetwork):
            weights = {f"backbone.{name}": value for name, value in weights.items()}
        try:
            student.load_state_dict(weights)
        except RuntimeError as error:
            raise TeacherError(
                f"The student cannot start from the weights of its teacher ({self.source}): their networks differ. Set "
                f'"initial_weights" to "random", or choose a teacher with the student\'s network (for a stock nnU-Net '
                f'that is one with "channel_encoder" "none"). {error}'
            ) from error

    def encoder_channels(self) -> Sequence[int]:
        """Return the number of channels of each encoder level."""
        encoder: Any = self._network.encoder
        return tuple(encoder.output_channels)

    def check_channels(self, of_student: Sequence[int]) -> None:
        """Refuse a student whose encoder levels have other channels.

        Raises:
            TeacherError: they have.
        """
        if self.encoder_channels() != tuple(of_student):
            raise TeacherError(
                f"The encoder levels of the teacher ({self.source}) have {self.encoder_channels()} channels, the "
                f"student's {tuple(of_student)}. Choose a teacher that uses the plans' network as it is."
            )

    def check_weights(self, fingerprint: str | None) -> None:
        """Refuse to go on teaching a student that other weights have taught.

        Args:
            fingerprint: of its teacher until now; None if it had none.

        Raises:
            TeacherError: it is not this one's.
        """
        if fingerprint not in (None, self.fingerprint):
            raise TeacherError(
                f"This training was started with other weights of its teacher than those of {self.source}. Put the "
                "first teacher back, or train anew without --c."
            )


def load_teacher(student: Student, choice: str, *, device: torch.device, returns_logits: bool = True) -> Teacher:
    """Find, check and load the teacher, on ``device``.

    Args:
        choice: the value of the key ``teacher``.
        returns_logits: see `Teacher`.

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
    source = f"{checkpoint['trainer_name']} in {found.checkpoint}"
    return Teacher(network.to(device), source, returns_logits=returns_logits)


def _load_checkpoint(file: Path, command: str) -> dict[str, Any]:
    try:
        return read_checkpoint(file)
    except CheckpointError as error:
        raise TeacherError(f"The teacher's checkpoint is no good: {error} Train it again with: {command}") from error


def _build(
    found: TeacherFolder, checkpoint: dict[str, Any], configuration_name: str, plans_manager: PlansManager
) -> nn.Module:
    try:
        trainer = find_trainer(checkpoint["trainer_name"])
    except CheckpointError as error:
        raise TeacherError(f"The teacher in {found.folder} cannot be built: {error}") from error
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
