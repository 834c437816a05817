"""The accuracy studies on phantoms: the same data and number of steps for every method, several seeds.

    python benchmarks/accuracy/study.py prepare STUDY FOLDER
    python benchmarks/accuracy/study.py run STUDY FOLDER [--arms NAME ...] [--seeds 0 1 2] [--jobs 2]
    python benchmarks/accuracy/study.py table [--document docs/benchmark.md] [--figures docs/figures]

STUDY is ``methods`` or ``equal_budgets``. ``prepare`` makes phantoms and runs nnU-Net's planner and preprocessor;
``run`` trains what has no scores in ``runs/STUDY`` yet, seed by seed, a teacher before its student, one thread per
training; ``table`` makes tables of the scores. Methods are chosen on the split ``val`` (fold 0's validation cases) and
reported on ``test``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scaling import draw_scaling, scaling_table
from settings import BATCH_SIZE, CONFIGURATION, DATASET_ID, PLANS, SIZE, WIDTH, Study, StudyFolder
from studies import STUDIES
from tables import all_tables, draw, write_into

from nnunet_missingmod.demo.host_commands import Command, program, run_command
from nnunet_missingmod.storage import write_text


def prepare(study: Study, folder: StudyFolder) -> None:
    """Make the data, plan and preprocess them, write the study's plans, and the cases that will be scored."""
    from nnunet_missingmod.demo.phantom_dataset import write_dataset

    write_dataset(
        folder.dataset.parent,
        dataset_id=DATASET_ID,
        cases=study.cases,
        test_cases=study.test_cases,
        size=SIZE,
        seed=1,
        jobs=2,
    )
    folder.set_environment(folder.root / "results")
    del os.environ["nnUNet_n_proc_DA"]  # noqa: SIM112  the planner fails on 0
    arguments = ("-d", str(DATASET_ID), "-c", CONFIGURATION, "-np", "2", "-npfp", "2")
    log = folder.root / "plan_and_preprocess.txt"
    command = Command("preprocess", [program("nnUNetv2_plan_and_preprocess"), *arguments], log, r"\d+/\d+", study.cases)
    run_command(command, {})
    plans = json.loads((folder.preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["plans_name"] = PLANS
    chosen = plans["configurations"][CONFIGURATION]
    architecture = chosen["architecture"]["arch_kwargs"]
    architecture["features_per_stage"] = [WIDTH * 2**stage for stage in range(architecture["n_stages"])]
    chosen["batch_size"] = BATCH_SIZE
    write_text(folder.preprocessed / f"{PLANS}.json", json.dumps(plans, indent=2))
    write_splits(study, folder)
    write_scored_cases(folder, plans)


def write_splits(study: Study, folder: StudyFolder) -> None:
    """Write the one split of the study."""
    cases = sorted(file.name.removesuffix(".nii.gz") for file in (folder.dataset / "labelsTr").glob("*.nii.gz"))
    validation = study.validation_cases(cases)
    split = {"train": [case for case in cases if case not in validation], "val": validation}
    write_text(folder.preprocessed / "splits_final.json", json.dumps([split]))


def write_scored_cases(folder: StudyFolder, plans: dict) -> None:
    """Preprocess as prediction does, complete, once for all models: the validation and test cases, and some to follow.

    Trainings are followed on a dozen training cases and the first dozen of the validation cases.
    """
    (split,) = json.loads((folder.preprocessed / "splits_final.json").read_text(encoding="utf-8"))
    test = sorted(file.name.removesuffix(".nii.gz") for file in (folder.dataset / "labelsTs").glob("*.nii.gz"))
    train, validation = ("imagesTr", "labelsTr"), split["val"]
    write_cases(folder, plans, "scored", "val", train, validation)
    write_cases(folder, plans, "scored", "test", ("imagesTs_complete", "labelsTs"), test)
    write_cases(folder, plans, "followed", "train", train, split["train"][::4])
    write_cases(folder, plans, "followed", "val", train, validation[:12])


def write_cases(
    folder: StudyFolder, plans: dict, target: str, split: str, folders: tuple[str, str], cases: Iterable[str]
) -> None:
    """Preprocess cases of the dataset's two folders, of images and labels, into the target folder."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor

    manager = PlansManager(plans)
    dataset_json = json.loads((folder.dataset / "dataset.json").read_text(encoding="utf-8"))
    (folder.root / target).mkdir(exist_ok=True)
    images, labels = (folder.dataset / name for name in folders)
    for case in cases:
        image, segmentation, _ = MissingModPreprocessor(verbose=False).run_case(
            [str(images / f"{case}_{channel:04d}.nii.gz") for channel in range(4)],
            str(labels / f"{case}.nii.gz"),
            manager,
            manager.get_configuration(CONFIGURATION),
            dataset_json,
        )
        # Cropping marks what lies outside of the brain with -1.
        np.savez_compressed(
            folder.root / target / f"{case}.npz",
            image=image,
            labels=np.maximum(segmentation[0], 0),
            split=np.array(split),
        )


def run(study: Study, folder: StudyFolder, names: Iterable[str], seeds: Iterable[int], jobs: int) -> int:
    """Train and score what is missing; return 1 if a training failed."""
    study.runs.mkdir(exist_ok=True, parents=True)
    study.logs.mkdir(exist_ok=True, parents=True)
    done: dict[tuple[str, int], Future[bool]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for seed in seeds:
            firsts = [first for name in names if (first := study.arms[name].comes_after) is not None]
            # Teachers are taken up first and students, which wait for them, last.
            wanted = dict.fromkeys([*firsts, *names])
            for name in sorted(wanted, key=lambda name: study.arms[name].comes_after is not None):
                first = done.get((study.arms[name].comes_after or "", seed))
                done[name, seed] = pool.submit(run_one, study, folder, name, seed, first)
    return int(any(failed.result() for failed in done.values()))


def run_one(study: Study, folder: StudyFolder, name: str, seed: int, first: Future[bool] | None) -> bool:
    """Train one arm in a process of its own unless its scores are there; return whether it failed."""
    if study.is_done(folder, name, seed):
        return False
    if first is not None and first.result():
        return True
    log = study.logs / f"{name}-{seed}.txt"
    script = Path(__file__).parent / "train_arm.py"
    with log.open("w") as output:
        command = [sys.executable, str(script), study.name, str(folder.root), name, str(seed)]
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    printed = log.read_text(encoding="utf-8").replace(str(folder.root), "STUDY")
    write_text(log, printed)
    sys.stdout.write(f"{printed.splitlines()[-1]}\n")
    sys.stdout.flush()
    return code != 0


def main(argv: list[str] | None = None) -> int:
    """Run one of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for name in ("prepare", "run"):
        steps.add_parser(name).add_argument("study", choices=STUDIES)
        steps.choices[name].add_argument("folder", type=Path)
    steps.choices["run"].add_argument("--arms", nargs="+", help="default: those of the study's first table")
    steps.choices["run"].add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    steps.choices["run"].add_argument("--jobs", type=int, default=2)
    table = steps.add_parser("table")
    table.add_argument("--document", type=Path, help="put them where this document has places for them")
    table.add_argument("--figures", type=Path, help="folder for figures")
    args = parser.parse_args(argv)
    if args.step == "table":
        tables, equal = all_tables(), STUDIES["equal_budgets"]
        if equal.runs.is_dir():
            tables["scaling, test"] = scaling_table(equal, "test")
        if args.document is not None:
            write_into(args.document, tables)
        else:
            sys.stdout.write("\n\n".join(f"{name}\n\n{text}" for name, text in tables.items()) + "\n")
        if args.figures is not None:
            draw(STUDIES["methods"], "test", args.figures)
            if equal.runs.is_dir():
                draw_scaling(equal, "test", args.figures)
        return 0
    study, folder = STUDIES[args.study], StudyFolder(args.folder.resolve())
    if args.step == "prepare":
        prepare(study, folder)
        return 0
    arms = args.arms or next(iter(study.groups.values())).arms
    if unknown := [name for name in arms if name not in study.arms]:
        parser.error(f"no arms of {study.name}: {unknown}")
    return run(study, folder, arms, args.seeds, args.jobs)


if __name__ == "__main__":
    sys.exit(main())
