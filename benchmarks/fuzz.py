"""Throw spoilt cases and plans at the prediction path, and count what becomes of them.

    python benchmarks/fuzz.py [--cases 2400] [--plans 600] [--datasets 600] [--seed 0] [--only MUTATION ..] [--show 20]

Cases: folders of 40 cases, each with a random subset of modalities and zero to two mutations (``fuzz_voxels``,
``fuzz_grids``, ``fuzz_files``), go through the code of ``nnunet_missingmod predict`` with a tiny network. Plans:
``fuzz_plans`` changes plans.json of a model folder, mostly the ``"missingmod"`` block; the model is then loaded.
Datasets: ``fuzz_datasets`` changes dataset.json, references and splits, and goes through ``inspect`` and ``evaluate``.

What is right is known from the mutation alone. The voxels that a case truly has are normalised here, given to the bare
network with zeros in place of absent modalities, and the segmentation must be the same in every voxel; so must the
geometry. The tally:

- accepted rightly: the segmentation is the true one, and the modalities reported are the true ones
- refused rightly: nothing was written, and the message names the case and what is wrong
- refused needlessly: the case is good
- refused vaguely: the message does not name the modality, file or key
- crashed: an exception that is no refusal
- silently wrong: anything else that was accepted

Exit code 1 unless the last four are 0.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

import fuzz_files
import fuzz_grids
import fuzz_voxels
import numpy as np
import SimpleITK as sitk
import torch
from fuzz_datasets import fuzz_datasets
from fuzz_plans import PlansTruth, spoil_plans
from fuzz_truth import ACCEPT, EITHER, REFUSE, Truth
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from tiny_model import (
    DIRECTION,
    NAMES,
    ODD_NAMES,
    ORIGIN_MM,
    SPACING_MM,
    Array,
    make_arrays,
    write_image,
    write_tiny_model,
)

from nnunet_missingmod.cases.files import find_cases
from nnunet_missingmod.inference.batch import predict_cases
from nnunet_missingmod.inference.model_folder import load_predictor, open_model_folder
from nnunet_missingmod.inference.predictor import Predictor

MUTATIONS = {**fuzz_voxels.MUTATIONS, **fuzz_grids.MUTATIONS, **fuzz_files.MUTATIONS}
FORMATS = ((".nii.gz", "SimpleITKIO"), (".nii", "NibabelIO"), (".nii.gz", "NibabelIO"))
FORMATS += ((".nrrd", "SimpleITKIO"), (".mha", "SimpleITKIO"))
FORMAT_WEIGHTS = (0.5, 0.1, 0.1, 0.15, 0.15)
FOLDER_SIZE = 40
CASE_NAMES = (*ODD_NAMES, "x" * 120)
WRONG = ("refused needlessly", "refused vaguely", "crashed", "silently wrong")


class Oracle:
    """The true segmentation of a case, from its voxels and the bare network."""

    def __init__(self, model_folder: Path) -> None:
        model = open_model_folder(model_folder)
        self.predictor = load_predictor(model, device=torch.device("cpu"), kind=nnUNetPredictor)

    def segment(self, arrays: dict[int, Array]) -> Array | None:
        """Return the labels, or None if normalisation is not possible in float32."""
        data = np.zeros((len(NAMES), *next(iter(arrays.values())).shape), np.float32)
        for channel, array in arrays.items():
            with np.errstate(all="ignore"):
                data[channel] = (array - array.mean()) / max(array.std(), 1e-8)
        if not np.isfinite(data).all():
            return None
        logits = self.predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
        labels: Array = logits.argmax(0).numpy()
        return labels


def make_case(folder: Path, name: str, ending: str, rng: np.random.Generator) -> Truth:
    """Write a clean case with a random subset of modalities."""
    truth = Truth(folder, name, ending, make_arrays(int(rng.integers(0, 2**31))))
    number = int(rng.integers(1, len(NAMES) + 1))
    kept = sorted(rng.permutation(len(NAMES))[:number].tolist())
    truth.arrays = {channel: truth.arrays[channel] for channel in kept}
    for channel, array in truth.arrays.items():
        write_image(truth.file(channel), array, compress=bool(rng.random() < 0.7))
    return truth


def spoil(truth: Truth, rng: np.random.Generator, names: list[str]) -> None:
    """Apply zero, one or two mutations of these names, each to its own modality."""
    channels = rng.permutation(sorted(truth.arrays))[: int(rng.choice([0, 1, 2], p=[0.05, 0.75, 0.2]))]
    for channel in channels.tolist():
        for _ in range(20):  # until one applies
            chosen = names[int(rng.integers(0, len(names)))]
            if MUTATIONS[chosen](truth, channel, rng):
                truth.mutations.append(chosen)
                break
        if "name_not_utf8" in truth.mutations:  # further mutations would end the process
            return


def judge(truth: Truth, row: dict[str, object] | None, target: Path, oracle: Oracle) -> tuple[str, str]:
    """Return the tally's word for what became of a case, and the reason."""
    prediction = target / f"{truth.name}{truth.ending}"
    if row is None:
        return "silently wrong", "the case has no row"
    if row["status"] == "failed":
        return "crashed", str(row["error"])
    if row["status"] == "refused":
        error = str(row["error"])
        if prediction.exists():
            return "silently wrong", "refused, and yet there is a prediction"
        if truth.must == ACCEPT:
            return "refused needlessly", error
        if truth.must == REFUSE and not truth.is_named(error):
            return "refused vaguely", error
        return "refused rightly", error
    if truth.must == REFUSE:
        return "silently wrong", "accepted"
    if row["present"] != [NAMES[channel] for channel in sorted(truth.arrays)]:
        return "silently wrong", f"present: {row['present']}"
    if len(truth.mutations) == 1 and row["copies"] != truth.copies:
        return "silently wrong", f"copies: {row['copies']}"
    expected = oracle.segment(truth.arrays)
    image = sitk.ReadImage(str(prediction))
    labels = sitk.GetArrayFromImage(image)
    if expected is None or labels.shape != expected.shape or (labels != expected).any():
        return "silently wrong", "another segmentation"
    for found, true, off in (
        (image.GetSpacing(), SPACING_MM, 1e-4),
        (image.GetOrigin(), ORIGIN_MM, 0.1),
        (image.GetDirection(), DIRECTION, 1e-4),
    ):
        if not np.allclose(found, true, atol=off):
            return "silently wrong", f"geometry {found}"
    return "accepted rightly", ""


def fuzz_cases(root: Path, number: int, rng: np.random.Generator, show: int, names: list[str]) -> Counter[str]:
    """Return the tally over ``number`` cases."""
    tally: Counter[str] = Counter()
    of_mutation: dict[str, Counter[str]] = {name: Counter() for name in [*MUTATIONS, "none"]}
    models = {}
    for index, (ending, reader) in enumerate(FORMATS):
        folder = write_tiny_model(root / f"model-{index}", file_ending=ending, reader=reader)
        models[index] = (ending, Predictor.from_model_folder(folder, device="cpu"), Oracle(folder))
    while tally.total() < number:
        ending, predictor, oracle = models[int(rng.choice(len(FORMATS), p=FORMAT_WEIGHTS))]
        folder, target = root / "input" / "cases", root / "output"
        for path in (folder.parent, target):
            shutil.rmtree(path, ignore_errors=True)
        folder.mkdir(parents=True)
        target.mkdir()
        truths = []
        for index in range(min(FOLDER_SIZE, number - tally.total())):
            name = f"{CASE_NAMES[int(rng.integers(0, len(CASE_NAMES)))]}{index}"
            truth = make_case(folder, name, ending, rng)
            spoil(truth, rng, names)
            truths.append(truth)
        rows = {}
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                predict_cases(predictor, find_cases(folder, NAMES, ending), target)
            rows = {
                row["case"]: row for row in map(json.loads, (target / "predictions.jsonl").read_text().splitlines())
            }
        except Exception:  # the whole folder is lost: every case of it has no row
            sys.stderr.write(traceback.format_exc())
            rows = {truth.name: {"status": "failed", "error": "the command crashed"} for truth in truths}
        for truth in truths:
            verdict, reason = judge(truth, rows.get(truth.name), target, oracle)
            tally[verdict] += 1
            for name in truth.mutations or ["none"]:
                of_mutation[name][verdict] += 1
            if verdict in WRONG and tally[verdict] <= show:
                print(f"{verdict}: {truth.name}{ending} {truth.mutations} {truth.details} {truth.must}: {reason}"[:600])
        print(f"{tally.total()} cases: {dict(tally)}", flush=True)
    for name, counts in of_mutation.items():
        print(f"  {name:40} {dict(counts)}")
    return tally


def fuzz_plans(root: Path, number: int, rng: np.random.Generator, show: int) -> Counter[str]:
    """Return the tally over ``number`` changed blocks."""
    tally: Counter[str] = Counter()
    folder = write_tiny_model(root / "plans-model")
    clean = (folder / "plans.json").read_text()
    for _ in range(number):
        truth: PlansTruth = spoil_plans(clean, rng)
        (folder / "plans.json").write_text(truth.text)
        try:
            predictor = Predictor.from_model_folder(folder, device="cpu")
        except ValueError as error:
            named = any(name in str(error) for name in truth.names)
            verdict = (
                "refused needlessly" if truth.must == ACCEPT else "refused rightly" if named else "refused vaguely"
            )
            reason = str(error)
        except Exception as error:
            verdict, reason = "crashed", f"{type(error).__name__}: {error}"
        else:
            chosen = {name: predictor.choices[name] for name in truth.block}
            right = truth.must in (ACCEPT, EITHER) and chosen == truth.block
            verdict, reason = ("accepted rightly", "") if right else ("silently wrong", f"read as {chosen}")
        tally[verdict] += 1
        if verdict in WRONG and tally[verdict] <= show:
            print(f"{verdict}: {truth.what}: {reason}"[:600])
    return tally


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Spoilt cases and plans through the prediction path.")
    parser.add_argument("--cases", type=int, default=2400)
    parser.add_argument("--plans", type=int, default=600)
    parser.add_argument("--datasets", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=MUTATIONS, nargs="+", default=list(MUTATIONS), help="mutations of cases")
    parser.add_argument("--show", type=int, default=20, help="how many wrong outcomes of each kind to print")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as root:
        by_cases = fuzz_cases(Path(root), args.cases, np.random.default_rng(args.seed), args.show, args.only)
        by_plans = fuzz_plans(Path(root), args.plans, np.random.default_rng(args.seed), args.show)
        by_datasets = fuzz_datasets(Path(root), args.datasets, np.random.default_rng(args.seed), args.show)
    print(f"cases: {dict(by_cases)}\nplans: {dict(by_plans)}\ndatasets: {dict(by_datasets)}")
    return 1 if any((by_cases + by_plans + by_datasets)[word] for word in WRONG) else 0


if __name__ == "__main__":
    sys.exit(main())
