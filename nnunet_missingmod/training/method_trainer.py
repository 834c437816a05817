"""The trainer of the methods: networks and terms of its choices, and a frozen teacher where terms need one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from nnunetv2.paths import nnUNet_results

from nnunet_missingmod.networks.backbone import unwrapped
from nnunet_missingmod.training.average import AverageTeacher, average_decay
from nnunet_missingmod.training.building import taught_terms
from nnunet_missingmod.training.teacher import Teacher, load_teacher, rotating_samples
from nnunet_missingmod.training.teacher_folder import Student
from nnunet_missingmod.training.term_trainer import TermTrainer
from nnunet_missingmod.training.views import twice

_AVERAGE = "missingmod_average"


class MethodTrainer(TermTrainer):
    """Trains as `TermTrainer` does; terms may learn from a frozen teacher, and the network may start from its weights.

    With ``"teacher": "average"`` the teacher is the network's own average. Its weights are saved within the optimiser's
    state, as is all that learns beside the network; with ``"predict_with": "average"`` the two change places wherever
    the network validates or is saved.

    Attributes:
        frozen_teacher: the teacher, from the start of the training on; None if no term learns from one.
        average: the network's average, from ``configure_optimizers`` on, if the choices name it as the teacher.
        samples_taught: of the epoch so far, how many samples the teacher would count for, and how many there were.
    """

    frozen_teacher: Teacher | None = None
    average: AverageTeacher | None = None
    samples_taught = (0, 0)
    _steps = 0  # of the epoch so far
    _was_given_weights = False

    def initialize(self) -> None:
        """Build what nnU-Net builds; from now on notice weights that the network is given before the training starts.

        nnU-Net does not tell the trainer of ``-pretrained_weights``.
        """
        super().initialize()

        # A function, because a copy of the network would copy a method's trainer too.
        def note_weights(*_loaded: Any) -> None:
            self._was_given_weights = True

        unwrapped(self.network).register_load_state_dict_post_hook(note_weights)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """Let the average, if there is one, follow every step of the optimiser."""
        optimizer, scheduler = super().configure_optimizers()
        if self.choices["teacher"] == "average":
            self.average = AverageTeacher(
                unwrapped(self.network),
                decay=average_decay(
                    self.choices["average_decay"], num_steps=self.num_epochs * self.num_iterations_per_epoch
                ),
                returns_logits=self._teacher_logits_are_used(),
                returns_decoded=self._decoded_features_are_used(),
            )
            optimizer.register_step_post_hook(self._update_average)
        return optimizer, scheduler

    def _update_average(self, *_step: Any) -> None:
        assert self.average is not None
        self.average.update(unwrapped(self.network))

    def on_train_start(self) -> None:
        """Load the teacher, perhaps take its weights, then start as nnU-Net does."""
        if not self.was_initialized:
            self.initialize()
        self._check_contrast()
        if self.average is not None:
            self._start_average(self.average)
            self._compile_teacher()
            super().on_train_start()
            return
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
        self._compile_teacher()
        super().on_train_start()

    def _check_contrast(self) -> None:
        """Check that a step has two cases whose features are to be apart.

        Raises:
            ValueError: a batch has one that is taught.
        """
        # As `train_step` shows and teaches them.
        cases = len(rotating_samples(0, self.batch_size, 0.5)) if self.choices["two_subsets"] else self.batch_size
        taught = len(rotating_samples(0, cases, self.choices["taught_share"]))
        if "contrastive" in taught_terms(self.choices) and taught < 2:
            fixes = ['set "taught_share" to 1'] if self.choices["taught_share"] < 1 else []
            fixes += [f'set "{key}" to false' for key in ("two_subsets", "contrastive") if self.choices[key]]
            raise ValueError(
                f'"contrastive" holds cases of a batch apart, and in a batch of {self.batch_size} one case is taught: '
                f"{', '.join(fixes)}, or use plans with a larger batch_size."
            )

    def _compile_teacher(self) -> None:
        if self.frozen_teacher is not None and self._do_i_compile():
            self.frozen_teacher.compile()

    def _start_average(self, average: AverageTeacher) -> None:
        self.print_to_log_file(f"Teacher: {average.source}")
        if not average.updates:
            average.restart(unwrapped(self.network))
        if taught_terms(self.choices):
            self.frozen_teacher = average

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
        teacher = load_teacher(
            student,
            self.choices["teacher"],
            device=self.device,
            returns_logits=self._teacher_logits_are_used(),
            returns_decoded=self._decoded_features_are_used(),
        )
        if any(self.terms.term(name).levels for name in self.taught):
            teacher.check_channels(unwrapped(self.network).encoder.output_channels)
        teacher.check_weights(self.taught_by)
        return teacher

    def _teacher_logits_are_used(self) -> bool:
        assert self.terms is not None
        return any(self.terms.term(name).uses_teacher_logits for name in taught_terms(self.choices))

    def _decoded_features_are_used(self) -> bool:
        assert self.terms is not None
        return self.terms.uses_decoded

    def _add_terms(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        state = super()._add_terms(optimizer, state)
        return state if self.average is None else {**state, _AVERAGE: self.average.state_dict()}

    def _take_terms(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        if self.average is not None:
            self.average.load_state_dict(state[_AVERAGE])
        return super()._take_terms(optimizer, {name: value for name, value in state.items() if name != _AVERAGE})

    def _exchange(self) -> None:
        """Go from the weights that are trained to those that predict, or back, where they are not the same."""
        if self.average is not None and self.choices["predict_with"] == "average":
            self.average.exchange(unwrapped(self.network))

    @contextmanager
    def _predicting(self) -> Iterator[None]:
        """Inside, the network has the weights that predict."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def save_checkpoint(self, filename: str) -> None:
        """Save, in the place of the network's weights, those that predict."""
        with self._predicting():
            super().save_checkpoint(filename)

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Load what ``save_checkpoint`` saved."""
        super().load_checkpoint(filename_or_checkpoint)
        self._exchange()

    def on_validation_epoch_start(self) -> None:
        """Let the weights that predict be validated, until the epoch's validation ends."""
        super().on_validation_epoch_start()
        self._exchange()

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Go back to the weights that are trained."""
        self._exchange()
        super().on_validation_epoch_end(val_outputs)

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate the weights that predict."""
        with self._predicting():
            super().perform_actual_validation(save_probabilities)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's count of samples that are taught."""
        super().on_train_epoch_start()
        self.samples_taught, self._steps = (0, 0), 0

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Let the teacher see the batch before dropout, then take the step; perhaps show half of the cases twice."""
        present, share, step = self._present(batch), self.choices["taught_share"], self._steps
        if self.choices["two_subsets"]:
            size, shown = len(present), rotating_samples(step, len(present), 0.5)
            batch = twice(batch, present, device=self.device, samples=shown)
            present = self._present(batch)
            # Both views of a case are taught; in each round of the cases that are shown, others of them.
            turn = rotating_samples(step // size, len(shown), share)
            turn += [case + len(shown) for case in turn]
        else:
            turn = rotating_samples(step, len(present), share)
        if self.frozen_teacher is not None:
            taught, samples = self.samples_taught
            counted = int(self.frozen_teacher.counts(present).sum())
            self.samples_taught = (taught + counted, samples + len(present))
            batch["data"] = batch["data"].to(self.device, non_blocking=True)
            with self._autocast():
                self.loss.teacher_output = self.frozen_teacher(batch["data"], present, turn)
        self._steps += 1
        return super().train_step(batch)

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Say for how many samples the teacher counted, where it did not count for all."""
        super().on_train_epoch_end(train_outputs)
        taught, samples = self.samples_taught
        if taught < samples:
            self.print_to_log_file(f"The teacher had {taught} of {samples} samples with all of its modalities.")
