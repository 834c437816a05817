"""Train one arm with one seed inside this process, through nnU-Net's own training loop, and score it on every subset.

    python benchmarks/accuracy/train_arm.py STUDY FOLDER ARM SEED

`study.py` calls this. It leaves ``runs/STUDY/ARM-SEED.csv``: Dice of each case, subset and region, of the validation
cases (on which methods are chosen) and, unless the arm is only to choose from, of the test cases (on which they are
reported). A training that is over already is scored on what it has no scores of yet. An arm that is followed leaves
``curves/STUDY/ARM-SEED.csv`` instead: the same of a few training and validation cases, after every second epoch.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from presence_forms import PRESENCE_FORMS
from settings import BLOCK, CONFIGURATION, FOLD, PLANS, REGIONS, Arm, Study, StudyFolder
from steps import STEPS
from studies import STUDIES

from nnunet_missingmod.evaluation.metrics import region_dice
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks import early
from nnunet_missingmod.storage import replaced_when_complete


def build_trainer(arm: Arm, plans: dict[str, Any], dataset_json: dict[str, Any]) -> Any:
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
    return trainer_class(plans | {"continue_training": False}, CONFIGURATION, FOLD, dataset_json, torch.device("cpu"))


def prepare(study: Study, folder: StudyFolder, arm: Arm, seed: int) -> Any:
    """Return the arm's trainer, seeded, before anything is built."""
    plans = json.loads((folder.preprocessed / f"{PLANS}.json").read_text(encoding="utf-8"))
    block = BLOCK | {"num_epochs": study.num_epochs} | dict(arm.block)
    kind = getattr(import_module(CLASS_TABLE[arm.trainer]), arm.trainer)
    if getattr(kind, "modality_dropout", "none") != "none":
        block["modality_dropout_seed"] = seed
    if arm.teacher is not None:
        teacher = study.arms[arm.teacher]
        block["teacher"] = str(folder.model(arm.teacher, seed, teacher.trainer))
    plans["configurations"][CONFIGURATION]["missingmod"] = block
    dataset_json = json.loads((folder.preprocessed / "dataset.json").read_text(encoding="utf-8"))
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed)
    return build_trainer(arm, plans, dataset_json)


def train(study: Study, folder: StudyFolder, arm: Arm, seed: int) -> tuple[Any, list[tuple[Any, ...]]]:
    """Train from the seed and return the trainer and, if the arm is followed, the rows (epoch, ...) of its scores."""
    trainer = prepare(study, folder, arm, seed)
    if arm.pretrained is not None:
        from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

        trainer.initialize()
        pretrained = folder.checkpoint(arm.pretrained, seed, study.arms[arm.pretrained].trainer)
        load_pretrained_weights(trainer.network, str(pretrained))
    rows = follow(trainer, arm, folder.root / "followed") if arm.followed else []
    trainer.run_training()
    return trainer, rows


def trained(study: Study, folder: StudyFolder, name: str, seed: int) -> Any:
    """Return the trainer of a training that is over, with its weights."""
    arm = study.arms[name]
    trainer = prepare(study, folder, arm, seed)
    trainer.initialize()
    trainer.load_checkpoint(str(folder.checkpoint(name, seed, arm.trainer)))
    return trainer


def follow(trainer: Any, arm: Arm, cases: Path) -> list[tuple[Any, ...]]:
    """Return a list that grows by the rows (epoch, ...) of the network's scores after every second epoch."""
    rows: list[tuple[Any, ...]] = []
    end = trainer.on_epoch_end

    def end_and_score() -> None:
        end()
        # nnU-Net counts the epoch before this.
        if trainer.current_epoch % 2 == 0:
            rows.extend((trainer.current_epoch, *row) for row in score(trainer, arm, cases, ("train", "val")))
            trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)

    trainer.on_epoch_end = end_and_score
    return rows


@torch.inference_mode()
def predict(network: torch.nn.Module, image: np.ndarray, patch: tuple[int, ...], subset: tuple[int, ...]) -> np.ndarray:
    """Return the label map (S, H, W) of one case's slices (J, S, H, W), each slice within one patch."""
    slices = torch.from_numpy(image).permute(1, 0, 2, 3).clone()
    absent = [channel for channel in range(slices.shape[1]) if channel not in subset]
    slices[:, absent] = torch.nan
    (height, width), (rows, columns) = slices.shape[2:], patch
    top, left = (rows - height) // 2, (columns - width) // 2
    # Zeros around a NaN channel leave it absent, as nnU-Net's own padding does.
    padded = torch.nn.functional.pad(slices, (left, columns - width - left, top, rows - height - top))
    labels = torch.cat([network(chunk).argmax(1) for chunk in padded.split(20)])
    return labels[:, top : top + height, left : left + width].numpy()


SCORES = ("split", "case", "subset", "num_present", "region", "dice")


def write_scores(target: Path, name: str, seed: int, rows: Sequence[tuple[Any, ...]], *more: str) -> None:
    """Write rows of scores, which more columns may precede, under this name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("arm", "seed", *more, *SCORES))
    writer.writerows((name, seed, *row) for row in rows)
    content = text.getvalue().encode()
    # Without a time stamp, so that the same scores are the same file.
    with replaced_when_complete(target) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)


def score(trainer: Any, arm: Arm, cases: Path, splits: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the rows (split, case, subset, num_present, region, dice) of the cases of some splits."""
    network = trainer.network
    trainer.set_deep_supervision_enabled(False)
    network.eval()
    patch = tuple(trainer.configuration_manager.patch_size)
    subsets = [arm.dedicated_to] if arm.dedicated_to else all_subsets(4)
    rows: list[tuple[Any, ...]] = []
    for file in sorted(cases.glob("*.npz")):
        content = np.load(file)
        if str(content["split"]) not in splits:
            continue
        for subset in subsets:
            labels = predict(network, content["image"], patch, subset)
            dice = region_dice(labels, content["labels"], REGIONS)
            named = "+".join(trainer.modality_names[channel] for channel in subset)
            rows += [
                (str(content["split"]), file.stem, named, len(subset), region, round(value, 5))
                for region, value in dice.items()
            ]
    return rows


def main(argv: list[str] | None = None) -> int:
    """Train, score, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("arm")
    parser.add_argument("seed", type=int)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    study, folder = STUDIES[args.study], StudyFolder(args.folder.resolve())
    if args.arm not in study.arms:
        parser.error(f"no arm of {study.name}: {args.arm}")
    arm = study.arms[args.arm]
    folder.set_environment(folder.results(args.arm, args.seed))
    began = time.monotonic()
    target, cases = study.scores(args.arm, args.seed), folder.root / "scored"
    if target.exists():
        left = study.splits_left(args.arm, args.seed)
        trainer = trained(study, folder, args.arm, args.seed)
        before = pd.read_csv(target)[list(SCORES)]
        rows = [*before.itertuples(index=False), *score(trainer, arm, cases, left)]
        write_scores(target, args.arm, args.seed, rows)
        sys.stdout.write(f"{args.arm} {args.seed}: scored on {', '.join(left)}\n")
        return 0
    trainer, followed = train(study, folder, arm, args.seed)
    minutes = (time.monotonic() - began) / 60
    # The arm's own scores come last: with them it counts as done.
    if arm.scored_by_average:
        name = f"{args.arm}_by_average"
        trainer.average.exchange(trainer.network)
        write_scores(study.scores(name, args.seed), name, args.seed, score(trainer, arm, cases, ("val",)))
        trainer.average.exchange(trainer.network)
    if arm.followed:
        curves = study.curves(args.arm, args.seed)
        curves.parent.mkdir(parents=True, exist_ok=True)
        write_scores(curves, args.arm, args.seed, followed, "epoch")
    elif arm.segments:
        write_scores(target, args.arm, args.seed, score(trainer, arm, cases, arm.splits))
    sys.stdout.write(f"{args.arm} {args.seed}: trained in {minutes:.1f} min\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
