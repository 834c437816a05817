"""The frozen teacher of a training: any finished model of the same data, stock nnU-Net's included.

The trainer loads it (`load_teacher`) and calls it in every step. `Teacher` is not an ``nn.Module`` and never an
attribute of one, so that it is not trained, not synchronised between processes, and not saved with the student's
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from nnunet_missingmod.networks.backbone import subset_only
from nnunet_missingmod.networks.decoded import DecodedFeatures
from nnunet_missingmod.networks.multimodal import MultimodalNetwork, encoder_features, forward_with_encoder_features
from nnunet_missingmod.storage import fingerprint
from nnunet_missingmod.training.checkpoints import CheckpointError, find_trainer, is_ours, read_checkpoint
from nnunet_missingmod.training.step import TeacherOutput
from nnunet_missingmod.training.teacher_folder import Student, TeacherError, TeacherFolder, check_teacher, find_teacher
from nnunet_missingmod.training.weights import load_weights


class Teacher:
    """A network in evaluation mode whose weights never change.

    Args:
        network: has an encoder and a decoder; deep supervision is off.
        source: the trainer and checkpoint of the network, for messages.
        returns_logits: whether a term uses the logits; if not, the decoder does not run.
        returns_decoded: whether a term uses the decoder's last features.
    """

    def __init__(
        self, network: nn.Module, source: str, *, returns_logits: bool = True, returns_decoded: bool = False
    ) -> None:
        self.returns_logits = returns_logits
        self._network = network.eval().requires_grad_(False)
        self._decoded = DecodedFeatures(network) if returns_decoded else None
        self.source = source
        self._all = forward_with_encoder_features
        self._encoder_alone = encoder_features

    def compile(self, **options: Any) -> None:
        """Let its forward passes be compiled, as nnU-Net compiles the student's; options are ``torch.compile``'s."""
        self._all = torch.compile(forward_with_encoder_features, **options)
        self._encoder_alone = torch.compile(encoder_features, **options)

    @cached_property
    def fingerprint(self) -> str:
        """Of the weights; a training that is continued checks that its teacher is the same."""
        return fingerprint(weights=self._network.state_dict())

    def __call__(
        self, data: torch.Tensor, present: torch.Tensor, samples: Sequence[int] | None = None
    ) -> TeacherOutput:
        """Return features, and logits if a term uses them, of a batch before dropout, without gradients.

        Args:
            data: (B, J + E, *spatial), absent modalities marked.
            present: (B, J) bool, on the CPU, so that the CPU does not wait for the GPU.
            samples: those to teach; of the others there are zeros, and they do not count. By default all.
        """
        if samples is not None and len(samples) < len(data):
            index = torch.tensor(samples)
            on_device = index.to(data.device, non_blocking=True)
            return _spread(self(data[on_device], present[index]), on_device, len(data))
        complete = self.counts(present).to(data.device, non_blocking=True)
        # A stock network takes no such argument; its absent channels are filled by their marks.
        given_present = present if isinstance(self._network, MultimodalNetwork) else None
        with torch.no_grad():
            if not self.returns_logits:
                return TeacherOutput(None, self._encoder_alone(self._network, data, given_present), complete)
            logits, encoder = self._all(self._network, data, given_present)
        assert isinstance(logits, torch.Tensor)
        return TeacherOutput(logits, encoder, complete, None if self._decoded is None else self._decoded.take(present))

    def counts(self, present: torch.Tensor) -> torch.Tensor:
        """Return (B,) bool: the samples that it teaches, which have every modality; ``present`` is (B, J) bool."""
        return present.all(dim=1)

    def copy_weights_to(self, student: nn.Module) -> None:
        """Copy the weights into the student's network, which must have the same architecture.

        A stock network has the architecture of a student without channel encoder: its weights go into the backbone.

        Raises:
            TeacherError: the architectures differ.
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

    def check_channels(self, student_channels: Sequence[int]) -> None:
        """Check that the student's encoder levels have as many channels as the teacher's.

        Raises:
            TeacherError: they have not.
        """
        if self.encoder_channels() != tuple(student_channels):
            raise TeacherError(
                f"The encoder levels of the teacher ({self.source}) have {self.encoder_channels()} channels, the "
                f"student's {tuple(student_channels)}. Choose a teacher that uses the plans' network as it is."
            )

    def check_weights(self, fingerprint: str | None) -> None:
        """Check that a training that is continued has the same teacher as before.

        Args:
            fingerprint: of the training's previous teacher; None if it had none.

        Raises:
            TeacherError: it is not this teacher's fingerprint.
        """
        if fingerprint not in (None, self.fingerprint):
            raise TeacherError(
                f"This training was started with other weights of its teacher than those of {self.source}. Put the "
                "first teacher back, or train anew without --c."
            )


def rotating_samples(step: int, batch_size: int, share: float) -> list[int]:
    """Return which samples of a batch are taken in a step, in turn: as many as the share says, at least one.

    They lie apart, because nnU-Net puts the patches with foreground at a batch's end: every sample has its turn, and
    no step has only those or none of them, where a batch is large enough.
    """
    number = max(1, round(share * batch_size))
    return sorted((step + order * batch_size // number) % batch_size for order in range(number))


def _spread(output: TeacherOutput, samples: torch.Tensor, batch_size: int) -> TeacherOutput:
    """Return the output of some samples as one of the batch, with zeros for the others."""

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(batch_size, *values.shape[1:]).index_copy_(0, samples, values)

    return TeacherOutput(
        None if output.logits is None else spread(output.logits),
        [spread(level) for level in output.encoder],
        spread(output.complete),
        None if output.decoded is None else spread(output.decoded),
    )


def load_teacher(
    student: Student,
    choice: str,
    *,
    device: torch.device,
    returns_logits: bool = True,
    returns_decoded: bool = False,
) -> Teacher:
    """Find, check and load the teacher, on ``device``.

    Args:
        choice: the value of the key ``teacher``.
        returns_logits, returns_decoded: see `Teacher`.

    Raises:
        TeacherError: its checkpoint is missing, incomplete or contains code, its training is not finished, or it was
            trained on other data.
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
    if subset_only(network) is not None:
        raise TeacherError(
            f'The teacher in {found.folder} was trained on some modalities alone ("modality_subset" of its plans), and '
            "a teacher sees all. Train it with plans without that key, and put the key back for the student."
        )
    source = f"{checkpoint['trainer_name']} in {found.checkpoint}"
    return Teacher(network.to(device), source, returns_logits=returns_logits, returns_decoded=returns_decoded)


def _load_checkpoint(file: Path, command: str) -> dict[str, Any]:
    try:
        return read_checkpoint(file)
    except CheckpointError as error:
        raise TeacherError(f"The teacher's checkpoint is no good: {error} Train it again with: {command}") from error


def _build(
    found: TeacherFolder, checkpoint: dict[str, Any], configuration_name: str, plans_manager: PlansManager
) -> nn.Module:
    configuration = plans_manager.get_configuration(configuration_name)
    try:
        trainer = find_trainer(checkpoint["trainer_name"], ours=is_ours(checkpoint, configuration.configuration))
    except CheckpointError as error:
        raise TeacherError(f"The teacher in {found.folder} cannot be built: {error}") from error
    try:
        network: nn.Module = trainer.build_network_architecture(
            plans_manager,
            configuration,
            determine_num_input_channels(plans_manager, configuration, found.dataset_json),
            plans_manager.get_label_manager(found.dataset_json).num_segmentation_heads,
            enable_deep_supervision=False,
        )
        load_weights(network, checkpoint["network_weights"])
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise TeacherError(f"The weights in {found.checkpoint} do not fit its plans: {error}") from error
    return network
