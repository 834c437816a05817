"""nnU-Net's trainer, on cases that lack modalities: the hooks that every trainer of the menu shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import distributed as dist
from torch import nn

from nnunet_missingmod import absence, plans_block
from nnunet_missingmod.cases.description import check_for_training
from nnunet_missingmod.choices import LEFT_TO_STUDENTS, TEACHERS
from nnunet_missingmod.host import HOST_PREPROCESSOR, PREPROCESSOR
from nnunet_missingmod.keys import OFF
from nnunet_missingmod.modalities import channel_names
from nnunet_missingmod.networks.backbone import fill_absent_channels
from nnunet_missingmod.preprocessing.configuration import bring_preprocessor
from nnunet_missingmod.training.building import of_its_subset
from nnunet_missingmod.training.checkpoints import CheckpointTrainer
from nnunet_missingmod.training.earlier_choices import as_written_now, check_saw_all
from nnunet_missingmod.training.patterns import PatternCycle, known_pattern, report_pattern
from nnunet_missingmod.training.presence import (
    CASCADE_WARNING,
    BlankMarkingDatasets,
    Presence,
    PresencePreservingTransform,
    read_presence,
)
from nnunet_missingmod.training.prevalence_file import PrevalenceFile
from nnunet_missingmod.training.saving import CHECKPOINT_NAMES
from nnunet_missingmod.training.split import SPLIT_FILE, Split, parse_split, write_split
from nnunet_missingmod.training.subsets import FixedSubset, ModalityDropout, SubsetCycle, dice_by_count, dropout_chance

# Of the initial arguments, which nnU-Net saves in every checkpoint and restores from it.
_SPLIT = "missingmod_split"
_HOST_KEYS = (
    "num_epochs",
    "num_iterations_per_epoch",
    "num_val_iterations_per_epoch",
    "save_every",
    "initial_lr",
    "weight_decay",
    "oversample_foreground_percent",
)


class MissingModTrainer(CheckpointTrainer):
    """The base of this package's trainers; a subclass chooses by class attributes named as in ``plans_block.KEYS``.

    The plans' ``"missingmod"`` block overrides the class attributes. The resolved choices and the absence-aware
    preprocessor are written into the model folder's plans.json, so that stock ``nnUNetv2_predict`` uses them.

    Attributes:
        block_keys: the keys of the block that this trainer uses; it leaves the others to the trainers it shares its
            plans with.
        taught: the names of the loss terms that learn from a teacher of complete cases.
    """

    block_keys = plans_block.COMMON_KEYS
    taught: Sequence[str] = ()

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - the host's signature
    ) -> None:
        check_for_training(dataset_json)
        plans = self._with_choices(plans, configuration, channel_names(dataset_json))
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.choices: dict[str, Any] = self.configuration_manager.configuration[plans_block.BLOCK]
        for name in _HOST_KEYS:
            if self.choices[name] is not None:
                setattr(self, name, self.choices[name])
        self.modality_names = channel_names(dataset_json)
        # A teacher leaves what it does not use to its students, with whom it shares its plans.
        own = self.choices if type(self).__name__ in TEACHERS else self._own_choices()
        plans_block.check_choices(self.choices, self.modality_names, own, keys=self.block_keys)
        self.prevalence_file = self._read_prevalence_file()
        self._choose_subsets(self.choices["modality_subsets"])
        self.training_presence: Presence | None = None

    @classmethod
    def _with_choices(cls, plans: dict[str, Any], configuration: str, names: Sequence[str] = ()) -> dict[str, Any]:
        """Return plans whose configuration has our preprocessor and a complete ``"missingmod"`` block.

        Names of channels that the network is built by become numbers: nnU-Net's predictor builds it without the names.

        Raises:
            ValueError: the block is not accepted or misplaced, or the plans name a preprocessor that we would displace.
        """
        plans = deepcopy(plans)
        resolved = PlansManager(plans).get_configuration(configuration).configuration
        if resolved["preprocessor_name"] not in (HOST_PREPROCESSOR, PREPROCESSOR):
            raise ValueError(
                f"The plans' preprocessor {resolved['preprocessor_name']!r} does not know absent modalities. Set "
                f'"preprocessor_name" of configuration {configuration} to "{PREPROCESSOR}" or "{HOST_PREPROCESSOR}".'
            )
        block = plans_block.resolve(plans_block.block_of(plans, resolved), cls._own_choices(), keys=cls.block_keys)
        if cls.__name__ in TEACHERS:
            own = [key for key in cls.block_keys if key.name in LEFT_TO_STUDENTS]
            block |= plans_block.resolve(None, cls._own_choices(), keys=own)
        block = plans_block.with_numbers(block, names)
        plans["configurations"][configuration] |= {"preprocessor_name": PREPROCESSOR, plans_block.BLOCK: block}
        return plans

    @classmethod
    def _own_choices(cls) -> dict[str, Any]:
        return {key.name: getattr(cls, key.name) for key in cls.block_keys if hasattr(cls, key.name)}

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """Return nnU-Net's optimiser and schedule, or those of the choices where they name others."""
        if self.choices.get("optimizer_kind") == "adam":
            adam = torch.optim.Adam(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
            return adam, PolyLRScheduler(adam, self.initial_lr, self.num_epochs)
        optimizer, scheduler = super().configure_optimizers()
        if self.choices["momentum"] is not None:
            for group in optimizer.param_groups:
                group["momentum"] = self.choices["momentum"]
        return optimizer, scheduler

    def _read_prevalence_file(self) -> PrevalenceFile | None:
        """Return the file that the plans name, and put what it says in its place.

        One that cannot be used is refused, unless there is a checkpoint, which remembers what it said.
        """
        named = self.choices["modality_subsets"]
        if named == OFF or isinstance(named, Mapping):
            return None
        found = PrevalenceFile.read(named, self.preprocessed_dataset_folder_base, self.modality_names)
        folder = Path(self.output_folder or "")
        if found.problem is not None and not any((folder / name).exists() for name in CHECKPOINT_NAMES):
            raise found.problem
        self.choices["modality_subsets"] = dict(found.weights) or named
        return found

    def _choose_subsets(self, weights: Any) -> None:
        """Draw, and go through in validation, what the choices name, with these as ``modality_subsets``."""
        self.choices["modality_subsets"] = weights
        # What is saved: the configuration manager has a copy.
        self.plans_manager.plans["configurations"][self.configuration_name][plans_block.BLOCK] = self.choices
        self.pattern = known_pattern(self.choices, self.modality_names)
        self.dropout = self._build_dropout()
        self.subset_cycle = self._build_subset_cycle()

    def _build_dropout(self) -> ModalityDropout | FixedSubset | None:
        if self.choices["modality_subset"] != "all":
            return FixedSubset(self.choices["modality_subset"], self.modality_names)
        if self.choices["modality_dropout"] == OFF:
            return None
        return ModalityDropout(
            self.choices["modality_dropout"] if self.pattern is None else self.pattern.sample,
            drop_probability=self.choices["modality_dropout_probability"],
            seed=self.choices["modality_dropout_seed"],
            rank=self.local_rank,
        )

    def _build_subset_cycle(self) -> SubsetCycle | None:
        if self.choices["validation_subsets"] == "full" or self.choices["modality_subset"] != "all":
            return None
        place = {"rank": self.local_rank, "world_size": dist.get_world_size() if self.is_ddp else 1}
        if self.pattern is not None:
            return PatternCycle(self.pattern, len(self.modality_names), **place)
        return SubsetCycle(len(self.modality_names), **place)

    @staticmethod
    def build_network_architecture(
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the network that the plans name, reading absent channels as zeros."""
        bring_preprocessor(configuration_manager)
        network = fill_absent_channels(
            nnUNetTrainer.build_network_architecture(
                plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
            )
        )
        return of_its_subset(network, configuration_manager)

    @staticmethod
    def get_training_transforms(*args: Any, **kwargs: Any) -> BasicTransform:
        """Return nnU-Net's augmentation, which leaves absent channels absent."""
        return PresencePreservingTransform(nnUNetTrainer.get_training_transforms(*args, **kwargs))

    @staticmethod
    def get_validation_transforms(*args: Any, **kwargs: Any) -> BasicTransform:
        """Return nnU-Net's validation transforms, which leave absent channels absent."""
        return PresencePreservingTransform(nnUNetTrainer.get_validation_transforms(*args, **kwargs))

    def _check_choices(self, checkpoint: dict[str, Any], file: Path) -> None:
        then = checkpoint["init_args"]["plans"]["configurations"][self.configuration_name].get(plans_block.BLOCK)
        then = as_written_now(then, self.choices, self.modality_names) if then else {}
        if type(self).__name__ in TEACHERS:
            check_saw_all(then, self.modality_names, file)
        began = then.get("modality_subsets")
        if self.prevalence_file is not None and isinstance(began, Mapping):
            if (notice := self.prevalence_file.notice(began)) is not None:
                self.print_to_log_file(notice)
            self._choose_subsets(began)
        if changed := plans_block.differences(then, self.choices):
            raise ValueError(
                f"{file} was trained with other choices: {'; '.join(changed)}. Set them back in "
                f'the "{plans_block.BLOCK}" block of the plans, or train anew without --c.'
            )

    def do_split(self) -> tuple[list[str], list[str]]:
        """Return nnU-Net's split, which must not mix training and validation cases of the training so far.

        Raises:
            SplitError: splits_final.json was changed so that it does; the message names the cases.
        """
        train, val = super().do_split()
        if _SPLIT in self.my_init_kwargs:
            so_far = parse_split(self.my_init_kwargs[_SPLIT])
            so_far.check_continued_by(Split(tuple(train), tuple(val)), source=str(self._fold_folder / SPLIT_FILE))
        return train, val

    @property
    def dataset_class(self) -> Any:
        """What opens preprocessed data: nnU-Net's class, or one that marks blank channels absent."""
        return self._dataset_class

    @dataset_class.setter
    def dataset_class(self, host: Any) -> None:
        marks = host is not None and self.choices["blank_is_absent"]
        self._dataset_class = BlankMarkingDatasets(host) if marks else host

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """Return nnU-Net's datasets, and keep which cases are trained on, and which modalities they have."""
        training, validation = super().get_tr_and_val_datasets()
        split = Split(tuple(training.identifiers), tuple(validation.identifiers))
        if _SPLIT in self.my_init_kwargs:
            split = parse_split(self.my_init_kwargs[_SPLIT]).continued_by(split)
        self.my_init_kwargs[_SPLIT] = split.as_json()
        self.training_presence = read_presence(training, self.modality_names)
        return training, validation

    def on_train_start(self) -> None:
        """Start as nnU-Net does, write the split that is used, and log choices and what modalities the cases lack.

        Raises:
            PrevalenceError: the prevalence file cannot be used, and no checkpoint that was loaded remembers it.
        """
        if isinstance(self.choices["modality_subsets"], str) and self.prevalence_file is not None:
            assert self.prevalence_file.problem is not None
            raise self.prevalence_file.problem
        super().on_train_start()
        if self.local_rank == 0:
            write_split(self._fold_folder, **self.my_init_kwargs[_SPLIT])
        assert self.training_presence is not None
        lines = [*self.training_presence.report(), *self.training_presence.report_teaching(self.taught)]
        drops = self.choices["modality_subset"] == "all" and self.dropout is not None
        if self.is_cascaded and (drops or self.subset_cycle is not None):
            lines.append(CASCADE_WARNING)
        if self.pattern is not None:
            lines += report_pattern(self.pattern, self.modality_names, self.training_presence.present)
        for line in lines:
            self.print_to_log_file(line)
        chosen = plans_block.describe(self.choices)
        self.print_to_log_file(f"Modalities: {', '.join(self.modality_names)}. Choices: {chosen}")

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sequence of dropped modalities."""
        super().on_train_epoch_start()
        if self.dropout is not None:
            chance = dropout_chance(
                self.current_epoch / self.num_epochs,
                start=self.choices["modality_dropout_from"],
                end=self.choices["modality_dropout_until"],
            )
            self.dropout.start_epoch(self.current_epoch, chance=chance)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take nnU-Net's training step on a random subset of each case's modalities."""
        if self.dropout is not None:
            kept = self.dropout.sample(self._present(batch).numpy())
            self._keep(batch, torch.from_numpy(kept))
        return super().train_step(batch)

    def on_validation_epoch_start(self) -> None:
        """Go to the epoch's place in the cycle of subsets."""
        super().on_validation_epoch_start()
        if self.subset_cycle is not None:
            self.subset_cycle.start_epoch(self.current_epoch, batches_per_epoch=self.num_val_iterations_per_epoch)

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take nnU-Net's validation step, on the next subset of the cycle where there is one."""
        if self.subset_cycle is None and self.choices["modality_subset"] == "all":
            return super().validation_step(batch)
        kept = self._kept_in_validation(batch)
        self._keep(batch, kept)
        # Cases that lack modalities themselves may leave a batch with unequal numbers: it counts as its smallest.
        return {**super().validation_step(batch), "num_present": int(kept.sum(dim=1).min())}

    def _kept_in_validation(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return what (B, J) of a batch is shown: of what its cases have the cycle's next subset, or all of it."""
        present = self._present(batch)
        if isinstance(self.dropout, FixedSubset):
            return torch.from_numpy(self.dropout.sample(present.numpy()))
        if self.subset_cycle is None:
            return present
        return torch.from_numpy(absence.restrict(present.numpy(), self.subset_cycle.next_subset()))

    def _autocast(self) -> AbstractContextManager[Any]:
        """Return the precision in which nnU-Net runs its network."""
        return torch.autocast("cuda") if self.device.type == "cuda" else nullcontext()

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Log nnU-Net's pseudo Dice, and beside it the one per number of present modalities."""
        super().on_validation_epoch_end(val_outputs)
        if self.subset_cycle is None:
            return
        steps = [(o["num_present"], o["tp_hard"], o["fp_hard"], o["fn_hard"]) for o in val_outputs]
        if self.is_ddp:
            of_ranks: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(of_ranks, steps)
            steps = [step for of_rank in of_ranks for step in of_rank]
        for count, dice in dice_by_count(steps).items():
            per_class = ", ".join(f"{value:.4f}" for value in dice)
            self.print_to_log_file(f"Pseudo dice with {count} of {len(self.modality_names)} modalities [{per_class}]")

    @property
    def _fold_folder(self) -> Path:
        return Path(str(self.output_folder))

    def _present(self, batch: dict[str, Any]) -> torch.Tensor:
        """``present`` (B, J) of a batch as the loader returns it, on the CPU: read once, before the transfer."""
        if "present" not in batch:
            batch["present"] = absence.read_uniform(batch["data"])[:, : len(self.modality_names)]
        present: torch.Tensor = batch["present"]
        return present

    def _keep(self, batch: dict[str, Any], kept: torch.Tensor) -> None:
        """Mark what is not kept, after the transfer: ``kept`` is on the CPU, so a GPU is not waited for."""
        batch["data"] = batch["data"].to(self.device, non_blocking=True)
        absence.mark(batch["data"], kept)
