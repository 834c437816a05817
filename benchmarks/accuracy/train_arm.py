"""Train one arm with one seed inside this process, through nnU-Net's own training loop, and score it on every subset.

    python benchmarks/accuracy/train_arm.py FOLDER ARM SEED

`study.py` calls this; it leaves ``runs/ARM-SEED.csv``: Dice of each case, subset and region, of the validation cases
(on which methods are chosen) and of the test cases (on which they are reported).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arms import ARMS, Arm
from settings import BLOCK, CONFIGURATION, FOLD, PLANS, REGIONS, RUNS, StudyFolder
from steps import STEPS

from nnunet_missingmod.evaluation.metrics import region_dice
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.storage import write_text


def build_trainer(arm: Arm, plans: dict[str, Any], dataset_json: dict[str, Any]) -> Any:
    """Return the arm's trainer; a dedicated one never sees the other channels."""
    from importlib import import_module

    trainer_class = getattr(import_module(f"nnunet_missingmod.trainers.{arm.trainer}"), arm.trainer)
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
    # nnU-Net takes the flag out of the plans again.
    return trainer_class(plans | {"continue_training": False}, CONFIGURATION, FOLD, dataset_json, torch.device("cpu"))


def train(folder: StudyFolder, name: str, seed: int) -> Any:
    """Train from the seed and return the trainer."""
    arm = ARMS[name]
    plans = json.loads((folder.preprocessed / f"{PLANS}.json").read_text(encoding="utf-8"))
    block = BLOCK | {"modality_dropout_seed": seed} | dict(arm.block)
    if arm.teacher is not None:
        teacher = ARMS[arm.teacher]
        block["teacher"] = str(folder.model(arm.teacher, seed, teacher.trainer))
    plans["configurations"][CONFIGURATION]["missingmod"] = block
    dataset_json = json.loads((folder.preprocessed / "dataset.json").read_text(encoding="utf-8"))
    for set_seed in (random.seed, np.random.seed, torch.manual_seed):
        set_seed(seed)
    trainer = build_trainer(arm, plans, dataset_json)
    if arm.pretrained is not None:
        from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

        pretrained = folder.model(arm.pretrained, seed, ARMS[arm.pretrained].trainer) / f"fold_{FOLD}"
        trainer.initialize()
        load_pretrained_weights(trainer.network, str(pretrained / "checkpoint_final.pth"))
    trainer.run_training()
    return trainer


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
    labels = torch.cat([network(chunk).argmax(1) for chunk in padded.split(8)])
    return labels[:, top : top + height, left : left + width].numpy()


def score(trainer: Any, name: str, seed: int, cases: Path) -> list[tuple[Any, ...]]:
    """Return the rows (arm, seed, split, case, subset, num_present, region, dice) of all cases."""
    network = trainer.network
    trainer.set_deep_supervision_enabled(False)
    network.eval()
    patch = tuple(trainer.configuration_manager.patch_size)
    subsets = [arm_subset] if (arm_subset := ARMS[name].dedicated_to) else all_subsets(4)
    rows: list[tuple[Any, ...]] = []
    for file in sorted(cases.glob("*.npz")):
        content = np.load(file)
        for subset in subsets:
            labels = predict(network, content["image"], patch, subset)
            dice = region_dice(labels, content["labels"], REGIONS)
            named = "+".join(trainer.modality_names[channel] for channel in subset)
            rows += [
                (name, seed, str(content["split"]), file.stem, named, len(subset), region, round(value, 5))
                for region, value in dice.items()
            ]
    return rows


def main(argv: list[str] | None = None) -> int:
    """Train, score, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("arm", choices=ARMS)
    parser.add_argument("seed", type=int)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    folder = StudyFolder(args.folder.resolve())
    folder.set_environment(folder.results(args.arm, args.seed))
    began = time.monotonic()
    trainer = train(folder, args.arm, args.seed)
    minutes = (time.monotonic() - began) / 60
    rows = score(trainer, args.arm, args.seed, folder.root / "scored")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("arm", "seed", "split", "case", "subset", "num_present", "region", "dice"))
    writer.writerows(rows)
    write_text(RUNS / f"{args.arm}-{args.seed}.csv", text.getvalue())
    sys.stdout.write(f"{args.arm} {args.seed}: trained in {minutes:.1f} min\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
