"""The accuracy studies: the same data and number of steps for every method, several seeds and folds.

    python benchmarks/accuracy/study.py prepare STUDY FOLDER [--configuration 3d_fullres]
    python benchmarks/accuracy/study.py prepare STUDY FOLDER --raw DATASET [--spacing MM] [--folds 5 | --splits FILE]
    python benchmarks/accuracy/study.py run STUDY FOLDER [--arms NAME ...] [--seeds 0 1 2] [--folds 0 1] [--jobs 2] \\
        [--part I/N]
    python benchmarks/accuracy/study.py table STUDY FOLDER
    python benchmarks/accuracy/study.py table [--document docs/benchmark.md] [--figures docs/figures]

STUDY is ``methods`` or ``equal_budgets``. ``prepare`` makes phantoms, or takes any raw dataset of nnU-Net, and runs
nnU-Net's planner and preprocessor; ``run`` trains what has no scores yet, seed by seed and fold by fold, a teacher
before its student, one thread per training, and may be given to a job array in parts; ``table`` makes tables of the
scores, those of a folder (a study's, or one of scores alone, in the columns of ``runs/real_cases``) or, without, of the
documents. Scores of phantoms are kept beside these scripts (``runs/STUDY``) if epochs have as many steps as documented
(150 in 2D, 50 in 3D), all others in FOLDER. Methods are chosen on the split ``val`` (each fold's validation cases) and
reported on ``test``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from math import inf
from pathlib import Path

from curves import curves_table, draw_curves
from curves import folder_of as curves_folder
from prepare import prepare_phantoms, prepare_raw
from scaling import draw_scaling, scaling_table
from settings import EPOCH_STEPS, HERE, Group, Study
from studies import STUDIES
from study_folder import StudyFolder, Training
from tables import all_tables, by_subset, draw, read_runs, summary, tables_of, write_into

from nnunet_missingmod.modalities import compile_pattern, name_patients
from nnunet_missingmod.storage import write_text


def in_order(folder: StudyFolder, names: Sequence[str], seeds: Sequence[int], folds: Sequence[int]) -> list[Training]:
    """Return the trainings to run, each once: what others come after first, seed by seed and fold by fold."""
    firsts = [first for name in names if (first := folder.study.arm(name).comes_after) is not None]
    wanted = sorted(dict.fromkeys([*firsts, *names]), key=lambda name: folder.study.arm(name).comes_after is not None)
    return [Training(name, *of) for of in dict.fromkeys(product(seeds, folds)) for name in wanted]


def part_of(folder: StudyFolder, trainings: Sequence[Training], part: int, parts: int) -> list[Training]:
    """Return those of part ``part`` of ``parts`` (from 1 on); what comes after another is in the other's part."""
    roots = [Training(folder.study.arm(one.arm).comes_after or one.arm, one.seed, one.fold) for one in trainings]
    number = {root: index for index, root in enumerate(dict.fromkeys(roots))}
    return [one for one, root in zip(trainings, roots, strict=True) if number[root] % parts == part - 1]


def run(folder: StudyFolder, trainings: Sequence[Training], jobs: int) -> int:
    """Train and score what is missing; return 1 if a training failed."""
    done: dict[Training, Future[bool]] = {}
    progress = Progress(len([one for one in trainings if not folder.is_done(one)]), jobs)
    with ThreadPoolExecutor(jobs) as pool:
        for training in trainings:
            before = folder.study.arm(training.arm).comes_after
            first = None if before is None else done.get(Training(before, training.seed, training.fold))
            done[training] = pool.submit(run_one, folder, training, first, progress)
    return int(any(failed.result() for failed in done.values()))


class Progress:
    """How many trainings are over, and how long the others will take."""

    def __init__(self, count: int, jobs: int) -> None:
        self.count, self.jobs, self.over, self.began = count, jobs, 0, time.monotonic()

    def line(self) -> str:
        """Count one more and return what is left in words."""
        self.over += 1
        left = self.count - self.over
        minutes = (time.monotonic() - self.began) / 60 / self.over * left
        return f"{self.over} of {self.count}; about {minutes:.0f} min left" if left else f"{self.over} of {self.count}"


def run_one(folder: StudyFolder, training: Training, first: Future[bool] | None, progress: Progress) -> bool:
    """Train one arm in a process of its own unless its scores are there; return whether it failed."""
    if folder.is_done(training):
        return False
    if first is not None and first.result():
        return True
    log = folder.log(training)
    script = Path(__file__).parent / "train_arm.py"
    arguments = [folder.study.name, str(folder.root), training.arm, str(training.seed), str(training.fold)]
    with log.open("w") as output:
        command = [sys.executable, str(script), *arguments]
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    printed = log.read_text(encoding="utf-8").replace(str(folder.root), "STUDY")
    write_text(log, printed)
    last = printed.splitlines()[-1] if printed else f"{training}: no output"
    sys.stdout.write(f"{last} ({progress.line()})\n")
    sys.stdout.flush()
    return code != 0


def write_documents(document: Path | None, figures: Path | None) -> None:
    """Write tables into a document, or print them, and figures into a folder."""
    tables, equal = all_tables(), STUDIES["equal_budgets"]
    has_runs, has_curves = (HERE / "runs" / equal.name).is_dir(), curves_folder(equal).is_dir()
    if has_runs:
        tables["scaling, test"] = scaling_table(equal, "test")
    if has_curves:
        tables["curves"] = curves_table(equal)
    if document is None:
        print_tables(tables)
    else:
        write_into(document, tables)
    if figures is not None:
        draw(STUDIES["methods"], "test", figures)
        if has_runs:
            draw_scaling(equal, "test", figures)
        if has_curves:
            draw_curves(equal, figures)


def write_tables(folder: StudyFolder) -> None:
    """Print the tables of a folder's scores."""
    data = folder.data
    tables = tables_of(folder.study, folder.runs, folder.total_steps, data.patients, data.modalities)
    rows = read_runs(folder.runs, "val")
    shown = [arm for arm in folder.study.shown if arm in set(rows["arm"])]
    if shown:
        tables["by subset, val"] = by_subset(rows, shown, data.modalities)
    print_tables(tables)


def tables_of_scores(study: Study, folder: Path, baseline: str | None, patients: str | None = None) -> dict[str, str]:
    """Return a table of all arms for each split of a folder of scores that was made elsewhere.

    Args:
        study: whose first table names the baseline by default.
        folder: of CSV files with the columns arm, case, subset, num_present, region, dice (0..1), and where there are
            several seed, fold and split; without a split all are ``val``.
        baseline: the arm that the others are compared with.
        patients: regular expression whose group is the patient in the name of a case; by default each case is its own.

    Raises:
        FileNotFoundError: it has no CSV file.
        ValueError: the baseline is not among the arms, a file cannot be read, or the pattern does not match a case.
    """
    baseline = baseline or next(iter(study.groups.values())).baseline
    tables = {}
    for split in ("test", "val"):
        rows = read_runs(folder, split)
        arms = tuple(rows["arm"].unique())
        if arms and baseline not in arms:
            raise ValueError(f"{folder} has no arm {baseline!r}: give one of {', '.join(arms)} as --baseline.")
        if arms and ("split" in rows or split == "val"):
            owners = {} if patients is None else name_patients(rows["case"].unique(), compile_pattern(patients))
            tables[f"{folder.name}, {split}"] = summary(rows, Group(arms, baseline), patients=owners)
    return tables


def print_tables(tables: dict[str, str]) -> None:
    """Print tables under their names."""
    sys.stdout.write("\n\n".join(f"{name}\n\n{text}" for name, text in tables.items()) + "\n")


def whole(text: str, least: int = 0) -> int:
    """Read a whole number, ``least`` or more."""
    if not (text.isascii() and text.isdecimal() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"it is a whole number from {least} on, got {text}")
    return int(text)


def count(text: str) -> int:
    """Read a whole number from 1 on."""
    return whole(text, 1)


def millimetres(text: str) -> float:
    """Read a size of voxels."""
    try:
        found = float(text)
    except ValueError:
        found = 0
    if not 0 < found < inf:
        raise argparse.ArgumentTypeError(f"it is a number of mm above 0, got {text}")
    return found


def parser_of_steps() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    prepare, run, table = (steps.add_parser(name) for name in ("prepare", "run", "table"))
    for each in (prepare, run):
        each.add_argument("study", choices=STUDIES)
        each.add_argument("folder", type=Path)
    table.add_argument("study", choices=STUDIES, nargs="?")
    table.add_argument("folder", type=Path, nargs="?")
    prepare.add_argument("--configuration", choices=("2d", "3d_fullres"), default="2d")
    prepare.add_argument(
        "--epoch-steps", type=count, default=EPOCH_STEPS, help="steps of an epoch (default: %(default)s)"
    )
    prepare.add_argument("--raw", type=Path, help="a raw dataset, DatasetXXX_NAME, in place of phantoms")
    prepare.add_argument("--spacing", type=millimetres, help="resample it to voxels of so many mm")
    prepare.add_argument("--folds", type=count, help="of the raw dataset, by nnU-Net's rule (default: 5)")
    prepare.add_argument("--splits", type=Path, help="folds as in nnU-Net's splits_final.json")
    prepare.add_argument("--patients", help="regular expression whose group is the patient in the name of a case")
    run.add_argument("--arms", nargs="+", help="default: those of the study's first table")
    run.add_argument("--seeds", nargs="+", type=whole, default=[0, 1, 2])
    run.add_argument("--folds", nargs="+", type=whole, help="default: all")
    run.add_argument("--jobs", type=count, default=2, help="trainings at a time")
    run.add_argument("--part", help="I/N: the I-th of N parts, for a job array")
    table.add_argument("--baseline", help="the arm that others are compared with, in a folder of scores alone")
    table.add_argument(
        "--patients", help="of a folder of scores alone: regular expression whose group is the patient in a case's name"
    )
    table.add_argument("--document", type=Path, help="put them where this document has places for them")
    table.add_argument("--figures", type=Path, help="folder for figures")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one of the three steps."""
    parser = parser_of_steps()
    args = parser.parse_args(argv)
    if args.study is None:
        write_documents(args.document, args.figures)
        return 0
    if args.folder is None:
        parser.error("give the study's FOLDER, too")
    folder = StudyFolder(STUDIES[args.study], args.folder.resolve())
    try:
        if args.step == "prepare":
            shared = {"configuration": args.configuration, "epoch_steps": args.epoch_steps}
            of_raw = {"spacing": args.spacing, "folds": args.folds, "splits": args.splits, "patients": args.patients}
            given = {name: value for name, value in of_raw.items() if value is not None}
            if args.raw is None:
                if given:
                    name = next(iter(given))
                    raise ValueError(f"--{name} is of a raw dataset: give it by --raw, or leave --{name} out.")
                prepare_phantoms(folder, **shared)
            else:
                spacing = given.pop("spacing", None)
                prepare_raw(folder, args.raw, spacing_mm=spacing, **given, **shared)
        elif args.step == "table" and not folder.is_prepared:
            print_tables(tables_of_scores(folder.study, folder.root, args.baseline, args.patients))
        elif args.step == "table":
            write_tables(folder)
        else:
            names = folder.expand(args.arms or next(iter(folder.study.groups.values())).arms)
            folds = range(folder.data.folds) if args.folds is None else args.folds
            if unknown := sorted(set(folds) - set(range(folder.data.folds))):
                raise ValueError(f"--folds: {folder.root} has folds 0 to {folder.data.folds - 1}, not {unknown[0]}.")
            trainings = in_order(folder, names, args.seeds, folds)
            if args.part is not None:
                part, parts = parse_part(args.part)
                trainings = part_of(folder, trainings, part, parts)
            return run(folder, trainings, args.jobs)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    return 0


def parse_part(text: str) -> tuple[int, int]:
    """Return I and N of ``I/N``.

    Raises:
        ValueError: it is not of that form, or I is not one of 1 to N.
    """
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--part takes I/N, as 1/4 for the first of four, got {text!r}.")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    sys.exit(main())
