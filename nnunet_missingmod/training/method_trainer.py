"""The trainer of the methods: networks and terms of its choices, and a frozen teacher where terms need one."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from nnunetv2.paths import nnUNet_results

from nnunet_missingmod.networks.backbone import unwrapped
from nnunet_missingmod.training.building import taught_terms
from nnunet_missingmod.training.teacher import Teacher, load_teacher
from nnunet_missingmod.training.teacher_folder import Student
from nnunet_missingmod.training.term_trainer import TermTrainer


class MethodTrainer(TermTrainer):
    """Trains as `TermTrainer` does; terms may learn from a frozen teacher, and the network may start from its weights.

    Attributes:
        frozen_teacher: the teacher, from the start of the training on; None if no term learns from one.
        samples_taught: of the epoch so far, how many samples the teacher counted for, and how many there were.
    """

    frozen_teacher: Teacher | None = None
    samples_taught = (0, 0)
    _was_given_weights = False

    def initialize(self) -> None:
        """Build what nnU-Net builds; from now on notice weights that the network is given before the training starts.

        nnU-Net does not tell the trainer of ``-pretrained_weights``.
        """
        super().initialize()
        unwrapped(self.network).register_load_state_dict_post_hook(self._note_weights)

    def _note_weights(self, *_loaded: Any) -> None:
        self._was_given_weights = True

    def on_train_start(self) -> None:
        """Load the teacher, perhaps take its weights, then start as nnU-Net does."""
        if not self.was_initialized:
            self.initialize()
        self.taught = taught_terms(self.choices)
        begins = self.choices["initial_weights"] == "teacher" and self.taught_by is None
        if begins and self._was_given_weights:
            self.print_to_log_file(
                "The network keeps the weights that it was given (-pretrained_weights, or --c); these go before "
                '"initial_weights": "teacher".'
            )
            begins = False
        if self.taught or begins:
            teacher = self._load_teacher()
            self.print_to_log_file(f"Teacher: {teacher.source}")
            if begins:
                teacher.copy_weights_to(unwrapped(self.network))
            self.taught_by = teacher.fingerprint
            if self.taught:
                self.frozen_teacher = teacher
        super().on_train_start()

    def _load_teacher(self) -> Teacher:
        student = Student(
            Path(str(nnUNet_results)),
            self.plans_manager.plans,
            self.dataset_json,
            self.configuration_name,
            self.configuration_manager.configuration,
            self.fold,
        )
        assert self.terms is not None
        terms = [self.terms.term(name) for name in self.taught]
        teacher = load_teacher(
            student,
            self.choices["teacher"],
            device=self.device,
            returns_logits=any(term.uses_teacher_logits for term in terms),
        )
        if any(term.levels for term in terms):
            teacher.check_channels(unwrapped(self.network).encoder.output_channels)
        teacher.check_weights(self.taught_by)
        return teacher

    def on_train_epoch_start(self) -> None:
        """Start the epoch's count of samples that are taught."""
        super().on_train_epoch_start()
        self.samples_taught = (0, 0)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Let the teacher see the batch before dropout, then take the step."""
        if self.frozen_teacher is not None:
            present = self._present(batch)
            taught, samples = self.samples_taught
            self.samples_taught = (taught + int(present.all(dim=1).sum()), samples + len(present))
            batch["data"] = batch["data"].to(self.device, non_blocking=True)
            with torch.autocast("cuda") if self.device.type == "cuda" else nullcontext():
                self.loss.teacher_output = self.frozen_teacher(batch["data"], present)
        return super().train_step(batch)

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Say for how many samples the teacher counted, where it did not count for all."""
        super().on_train_epoch_end(train_outputs)
        taught, samples = self.samples_taught
        if taught < samples:
            self.print_to_log_file(f"The teacher had {taught} of {samples} samples with all of its modalities.")
