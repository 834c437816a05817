"""Predict, evaluate and learn from models that stock nnU-Net trained, by commands only.

    python benchmarks/stock_models.py FOLDER [--models NAME ...]

Each model is trained by ``nnUNetv2_train`` on phantoms, for one epoch of two steps: the plain network, batch
normalisation, the residual encoder, and regions in place of labels. ``predict`` then gets test cases that lack files,
``evaluate`` the validation cases, and the flagship learns from it as its teacher. Prints a line per model with the
seconds of each command; exit code 1 if any failed. Says nothing about accuracy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from every_trainer import call, write_table

from nnunet_missingmod.demo.phantom_dataset import write_dataset
from nnunet_missingmod.host import EXTERNAL_FOLDER, VARIABLE
from nnunet_missingmod.storage import write_text

CONFIGURATION = "3d_fullres"
STEPS = ("train", "predict", "evaluate", "teacher")
# nnU-Net's trainers, but for the length of the training.
TRAINERS = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerBN import nnUNetTrainerBN


def shorten(trainer):
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 2, 2


class nnUNetTrainerShort(nnUNetTrainer):
    def initialize(self):
        super().initialize()
        shorten(self)


class nnUNetTrainerBNShort(nnUNetTrainerBN):
    def initialize(self):
        super().initialize()
        shorten(self)
"""


class Model(NamedTuple):
    """A stock model.

    Attributes:
        dataset: its number; 504 has regions.
        planner, plans: nnU-Net's.
    """

    trainer: str = "nnUNetTrainerShort"
    dataset: int = 503
    planner: str = "ExperimentPlanner"
    plans: str = "nnUNetPlans"


MODELS = {
    "plain": Model(),
    "batch norm": Model("nnUNetTrainerBNShort"),
    "residual encoder": Model(planner="nnUNetPlannerResEncM", plans="nnUNetResEncUNetMPlans"),
    "regions": Model(dataset=504),
}


def prepare(folder: Path, models: list[Model]) -> None:
    """Make phantoms and preprocess them; nothing where that is done."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[variable] = str(folder / variable)
    os.environ |= {
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
        VARIABLE: os.pathsep.join([str(EXTERNAL_FOLDER), str(folder / "stock_trainers")]),
    }
    (folder / "stock_trainers").mkdir(exist_ok=True)
    (folder / "stock_trainers" / "short.py").write_text(TRAINERS, encoding="utf-8")
    for dataset, planner, plans in sorted({(model.dataset, model.planner, model.plans) for model in models}):
        raw = folder / "nnUNet_raw" / f"Dataset{dataset}_Phantom"
        if not raw.exists():
            write_dataset(folder / "nnUNet_raw", dataset_id=dataset, cases=5, test_cases=2, size=(32, 32, 32))
        described = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
        if dataset == MODELS["regions"].dataset:
            described["labels"] = {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": [3]}
            described["regions_class_order"] = [2, 1, 3]
            write_text(raw / "dataset.json", json.dumps(described))
        file = folder / "nnUNet_preprocessed" / raw.name / f"{plans}.json"
        if not file.exists():
            arguments = ("-d", str(dataset), "-c", CONFIGURATION, "-np", "1", "-npfp", "1", "-pl", planner)
            call(folder, f"plan_{dataset}_{plans}", "nnUNetv2_plan_and_preprocess", *arguments)


def set_block(folder: Path, model: Model, teacher: str | None) -> None:
    """Shrink the plans' network, and name the teacher of the flagship where there is one."""
    file = folder / "nnUNet_preprocessed" / f"Dataset{model.dataset}_Phantom" / f"{model.plans}.json"
    plans = json.loads(file.read_text(encoding="utf-8"))
    chosen = plans["configurations"][CONFIGURATION]
    architecture = chosen["architecture"]["arch_kwargs"]
    architecture["features_per_stage"] = [8] * architecture["n_stages"]
    chosen["missingmod"] = {
        **{"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 2},
        **({"teacher": teacher, "initial_weights": "random"} if teacher else {}),
    }
    write_text(file, json.dumps(plans, indent=2))


def run_model(folder: Path, name: str, model: Model) -> dict[str, float]:
    """Take a model through the four commands and return their seconds; stops at the first that fails."""
    named = ("-d", str(model.dataset), "-c", CONFIGURATION, "-tr", model.trainer, "-p", model.plans, "-device", "cpu")
    train = ("nnUNetv2_train", str(model.dataset), CONFIGURATION, "0", "-p", model.plans, "-device", "cpu", "-tr")
    output = folder / "outputs" / name.replace(" ", "_")
    images = folder / "nnUNet_raw" / f"Dataset{model.dataset}_Phantom" / "imagesTs"
    commands = {
        "train": (*train, model.trainer),
        "predict": ("nnunet_missingmod", "predict", "-i", str(images), "-o", f"{output}_predicted", "-f", "0", *named),
        "evaluate": (
            *("nnunet_missingmod", "evaluate", "-o", f"{output}_evaluated", "-f", "0", *named),
            *("--subsets", "4", "1", "-np", "1", "--disable_tta"),
        ),
        "teacher": (*train, "nnUNetTrainerHolderMI"),
    }
    seconds: dict[str, float] = {}
    for step in STEPS:
        set_block(folder, model, model.trainer if step == "teacher" else None)
        try:
            seconds[step] = call(folder, name.replace(" ", "_"), *commands[step])
        except subprocess.CalledProcessError:
            break
    return seconds


def main(argv: list[str] | None = None) -> int:
    """Run the models and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS), metavar="NAME")
    args = parser.parse_args(argv)
    folder = args.folder.resolve()
    prepare(folder, [MODELS[name] for name in args.models])
    return write_table("model", STEPS, args.models, lambda name: run_model(folder, name, MODELS[name]))


if __name__ == "__main__":
    sys.exit(main())
