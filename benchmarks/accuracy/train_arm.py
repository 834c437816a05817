"""Train one arm with one seed inside this process, through nnU-Net's own training loop, and score it on every subset.

    python benchmarks/accuracy/train_arm.py STUDY FOLDER ARM SEED [FOLD]

`study.py` calls this. It leaves a file of scores: Dice of each case, subset and region, of the fold's validation cases
(on which methods are chosen) and, unless the arm is only to choose from, of the test cases (on which they are
reported). A training that is over already is scored on what it has no scores of yet. An arm that is followed leaves a
file of curves instead: the same of a few training and validation cases, after every second epoch.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from presence_forms import PRESENCE_FORMS
from score_files import SCORES, Rows, read_scores, write_scores
from scoring import cases_of, score
from settings import BLOCK, BY_AVERAGE, PLANS, Arm
from steps import STEPS
from studies import STUDIES
from study_folder import StudyFolder, Training

from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.networks import early
from nnunet_missingmod.training.checkpoints import PRETRAINED

# Of how many training and how many validation cases a followed training is scored.
FOLLOWED_CASES = 12


def build_trainer(arm: Arm, plans: dict[str, Any], configuration: str, fold: int, dataset_json: dict[str, Any]) -> Any:
    """Return the arm's trainer; a dedicated one never sees the other channels."""
    trainer_class = getattr(import_module(CLASS_TABLE[arm.trainer]), arm.trainer)
    if arm.dedicated_to is not None:
        only = arm.dedicated_to

        class Dedicated(trainer_class):  # type: ignore[misc, valid-type]
            def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
                return super().train_step(restrict(batch))

            def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
                return super().validation_step(restrict(batch))

        def restrict(batch: dict[str, Any]) -> dict[str, Any]:
            absent = [channel for channel in range(batch["data"].shape[1]) if channel not in only]
            batch["data"][:, absent] = torch.nan
            return batch

        Dedicated.__name__ = arm.trainer
        trainer_class = Dedicated
    if arm.step is not None:
        trainer_class = type(arm.trainer, (STEPS[arm.step], trainer_class), {})
    if arm.presence is not None:
        early.use_presence_norms = PRESENCE_FORMS[arm.presence]
    # nnU-Net takes the flag out of the plans again.
    return trainer_class(plans | {"continue_training": False}, configuration, fold, dataset_json, torch.device("cpu"))


def block_of(folder: StudyFolder, training: Training) -> dict[str, Any]:
    """Return a training's ``"missingmod"`` block of the plans."""
    arm = folder.study.arm(training.arm)
    block = BLOCK | {"num_epochs": folder.study.num_epochs} | dict(arm.block)
    block["num_iterations_per_epoch"] = folder.steps(block["num_iterations_per_epoch"])
    kind = getattr(import_module(CLASS_TABLE[arm.trainer]), arm.trainer)
    without_effect = set(arm.block) - {key.name for key in kind.block_keys}
    if without_effect:  # a plan's block may be of several trainers, an arm's is of one
        raise ValueError(f"{training.arm}: {arm.trainer} does not use {', '.join(sorted(without_effect))}.")
    if block.get("optimizer_kind", getattr(kind, "optimizer_kind", None)) == "adam":  # which has none
        del block["momentum"]
    if getattr(kind, "modality_dropout", "none") != "none":
        block["modality_dropout_seed"] = training.seed
    if arm.teacher is not None:
        block["teacher"] = str(folder.model(Training(arm.teacher, training.seed, training.fold)))
    return block


def prepare(folder: StudyFolder, training: Training) -> Any:
    """Return a training's trainer, seeded, before anything is built."""
    arm, seed = folder.study.arm(training.arm), training.seed
    plans = folder.json(folder.preprocessed / f"{PLANS}.json")
    block = block_of(folder, training)
    configuration = plans["configurations"][folder.data.configuration]
    of_network = configuration["architecture"]["arch_kwargs"]
    for key, value in arm.plan.items():
        (of_network if key in of_network else configuration)[key] = value
    configuration["missingmod"] = block
    dataset_json = folder.json(folder.preprocessed / "dataset.json")
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed)
    return build_trainer(arm, plans, folder.data.configuration, training.fold, dataset_json)


def train(folder: StudyFolder, training: Training) -> tuple[Any, Rows]:
    """Train from the seed and return the trainer and, if the arm is followed, the rows (epoch, ...) of its scores."""
    arm = folder.study.arm(training.arm)
    trainer = prepare(folder, training)
    if arm.pretrained is not None:
        from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

        trainer.initialize()
        pretrained = Training(arm.pretrained, training.seed, training.fold)
        file = folder.checkpoint(pretrained)
        if not (arm.pretrained_whole or folder.study.arm(arm.pretrained).segments):
            pretrainer = trained(folder, pretrained)
            pretrainer.perform_actual_validation()  # which writes it
            file = Path(pretrainer.output_folder) / PRETRAINED
        load_pretrained_weights(trainer.network, str(file))
    rows = follow(folder, trainer, training) if arm.followed else []
    # Drawing it after each epoch takes a tenth of the time of so short a training.
    trainer.logger.plot_progress_png = lambda output_folder: None
    trainer.run_training()
    return trainer, rows


def trained(folder: StudyFolder, training: Training) -> Any:
    """Return the trainer of a training that is over, with its weights."""
    trainer = prepare(folder, training)
    trainer.initialize()
    trainer.load_checkpoint(str(folder.checkpoint(training)))
    return trainer


def follow(folder: StudyFolder, trainer: Any, training: Training) -> Rows:
    """Return a list that grows by the rows (epoch, ...) of the network's scores after every second epoch."""
    rows: Rows = []
    end = trainer.on_epoch_end

    def end_and_score() -> None:
        end()
        # nnU-Net counts the epoch before this.
        if trainer.current_epoch % 2 == 0:
            for split in ("train", "val"):
                files = cases_of(folder, training.fold, split, FOLLOWED_CASES)
                found = score(folder, trainer, training, files, split)
                rows.extend((trainer.current_epoch, *row) for row in found)
            trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)

    trainer.on_epoch_end = end_and_score
    return rows


def main(argv: list[str] | None = None) -> int:
    """Train, score, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("arm")
    parser.add_argument("seed", type=int)
    parser.add_argument("fold", type=int, nargs="?", default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    folder = StudyFolder(STUDIES[args.study], args.folder.resolve())
    training = Training(args.arm, args.seed, args.fold)
    arm = folder.study.arm(args.arm)
    folder.set_environment(folder.results(training))
    began = time.monotonic()
    target = folder.scores(training)
    left = folder.splits_left(training)  # not after the training, when another process may have scored the same

    def scored(trainer: Any, *splits: str) -> Rows:
        of_splits = ((split, cases_of(folder, training.fold, split)) for split in splits)
        return [row for split, files in of_splits for row in score(folder, trainer, training, files, split)]

    if target.exists():
        before = read_scores(target)[list(SCORES)]
        rows = [*before.itertuples(index=False), *scored(trained(folder, training), *left)]
        write_scores(target, training, rows)
        sys.stdout.write(f"{args.arm} {args.seed} {args.fold}: scored on {', '.join(left)}\n")
        return 0
    trainer, followed = train(folder, training)
    minutes = (time.monotonic() - began) / 60
    # The arm's own scores come last: with them it counts as done.
    if arm.scored_by_average:
        other = Training(f"{args.arm}{BY_AVERAGE}", training.seed, training.fold)
        trainer.average.exchange(trainer.network)
        write_scores(folder.scores(other), other, scored(trainer, "val"))
        trainer.average.exchange(trainer.network)
    if arm.followed:
        write_scores(folder.curves(training), training, followed, "epoch")
    elif arm.segments:
        write_scores(target, training, scored(trainer, *left))
    sys.stdout.write(f"{args.arm} {args.seed} {args.fold}: trained in {minutes:.1f} min\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
