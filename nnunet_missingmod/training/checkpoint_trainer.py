"""nnU-Net's trainer whose training can be cut off at any moment: by a kill, a full disk, a damaged checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_missingmod.training.checkpoint_file import read_checkpoint
from nnunet_missingmod.training.checkpoint_folder import newest_readable, remove_leftovers, saving, staged

# What nnU-Net writes into the model folder when a training starts or goes on; prediction needs them.
_MODEL_FILES = ("plans.json", "dataset.json", "dataset_fingerprint.json")


class CheckpointTrainer(nnUNetTrainer):
    """nnU-Net's trainer; nothing half-written takes a good file's place, and ``--c`` finds what is whole."""

    output_folder_base: str

    def save_checkpoint(self, filename: str) -> None:
        """Save as nnU-Net does, but under the final name only once the whole file is on the disk.

        Raises:
            CheckpointNotSavedError: it could not be saved; a file that was there is as it was.
        """
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)  # which writes nothing
            return
        with saving(Path(filename)) as temporary:
            super().save_checkpoint(str(temporary))

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Load as nnU-Net does; with ``--c``, from the newest checkpoint of the folder that is whole.

        Raises:
            CheckpointError: no checkpoint can be read, or one holds something else than a checkpoint.
            ValueError: see ``_check_choices``.
        """
        file = Path(filename_or_checkpoint)
        # --val and --val_best name the checkpoint that is to be validated: no other one may stand in.
        if self.logger.resume and self.dataloader_train is None:
            file = self._newest_readable(file)
        self._check_choices(read_checkpoint(file, mapped=True), file)
        super().load_checkpoint(str(file))

    def _check_choices(self, checkpoint: dict[str, Any], file: Path) -> None:
        """Refuse to go on from a checkpoint whose training was another one.

        Raises:
            ValueError: names the differences.
        """

    def _newest_readable(self, asked_for: Path) -> Path:
        choice = newest_readable(asked_for.parent)
        for reason in choice.passed_over:
            self.print_to_log_file(f"WARNING: {reason}")
        if choice.file != asked_for:
            self.print_to_log_file(
                f"Continuing after epoch {choice.epochs - 1} from {choice.file.name}, the newest checkpoint that can "
                f"be read, and not from {asked_for.name}."
            )
        return choice.file

    def on_train_start(self) -> None:
        """Start as nnU-Net does; plans.json and its like get their names once they are whole."""
        folder: str = self.output_folder_base
        if self.local_rank == 0:
            remove_leftovers(Path(self.output_folder))
        with staged(Path(folder), _MODEL_FILES, rank=self.local_rank) as staging:
            self.output_folder_base = str(staging)
            try:
                super().on_train_start()
            finally:
                self.output_folder_base = folder
