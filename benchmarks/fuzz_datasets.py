"""Sends changed raw datasets through the code of ``inspect`` and ``evaluate``, and judges what becomes of them.

A dataset is made in a random format with random names (``fuzz_dataset_truth``), changed in zero to two ways
(``fuzz_descriptions``, ``fuzz_references``, ``fuzz_splits``), inspected, and evaluated with a tiny model
(``fuzz_dataset_model``). Both must be right: the table of presence, what is wrong, the cases that are scored, the names
of their subsets, and each Dice, worked out here from the bare network.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import shutil
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import fuzz_descriptions
import fuzz_references
import fuzz_splits
import numpy as np
import torch
from fuzz_dataset_model import Oracle, dice_of
from fuzz_dataset_truth import DatasetTruth, Words, make_dataset

from nnunet_missingmod.benchmarking import evaluate as evaluate_module
from nnunet_missingmod.benchmarking import report as report_module
from nnunet_missingmod.benchmarking.named_models import NamedModel, name_models
from nnunet_missingmod.benchmarking.request import Request
from nnunet_missingmod.benchmarking.store import PredictionSettings
from nnunet_missingmod.cases.dataset import presence_table, read_dataset_json
from nnunet_missingmod.cases.inspection import describe, inspect_dataset
from nnunet_missingmod.errors import FailedError, UsageError
from nnunet_missingmod.evaluation.scores import read_scores
from nnunet_missingmod.modalities import channel_names

Verdict = tuple[str, str]
"""The tally's word, and the reason."""
Verdicts = dict[str, Verdict]
"""By command."""

CHANGES = {**fuzz_descriptions.SHARED, **fuzz_descriptions.RAW, **fuzz_references.REFERENCES, **fuzz_splits.SPLITS}
ORDER = ("accepted rightly", "refused rightly", "refused needlessly", "refused vaguely", "crashed", "silently wrong")
MODEL_NAMES = {"A": True, "a b": True, "ünï": True, "A+B": True, "%s": True, "<b>&amp;": True, "-m": True, "2": True}
MODEL_NAMES |= {"日本": True, "": False, ".hidden": False, "a\\b": False, "a/b": False, "x" * 300: False, "\x07": False}
MANY, MANY_OF = 12, 200
"""Modalities of one of so many datasets."""
REPORTS = 8
"""The report is written for one of so many datasets, because it takes most of the time."""


def parse_subset(text: str) -> tuple[str, ...]:
    """Return the names in a subset's notation: joined by +, a backslash before what is meant literally."""
    names, characters = [""], iter(text)
    for character in characters:
        if character == "+":
            names.append("")
        else:
            names[-1] += next(characters) if character == "\\" else character
    return tuple(names)


def write_subset(names: Sequence[str]) -> str:
    """Return names in that notation, every special one written so that it is none."""
    escaped = [name.replace("\\", "\\\\").replace("+", "\\+") for name in names]
    first = escaped[0]
    return "+".join([f"\\{first}" if first[:1] not in ("\\", "") else first, *escaped[1:]])


def holds(message: str, words: Words) -> bool:
    return all(word in message for word in words)


def judge_inspection(truth: DatasetTruth) -> Verdict:
    """Inspect the dataset; return what became of it."""
    expected = [words for command, words in truth.refused if command == "inspect"]
    try:
        content = read_dataset_json(truth.raw)
        names = channel_names(content)
        cases, beside = inspect_dataset(truth.raw, content)
        table = presence_table([(case.case, case.split, case.present) for case in cases], names)
        text = describe(cases, beside, names)
    except UsageError as error:
        if not expected:
            return "refused needlessly", str(error)
        named = any(holds(str(error), words) for words in expected)
        return "refused rightly" if named else "refused vaguely", str(error)
    except Exception:
        return "crashed", traceback.format_exc()[-1500:]
    if expected:
        return "silently wrong", f"accepted, expected a refusal with {expected}"
    unread = set(truth.failures)
    header, *rows = csv.reader(io.StringIO(table, newline=""))
    if header != ["case", "split", *truth.names]:
        return "silently wrong", f"the table's head is {header}, not {truth.names}"
    channels = range(len(names))
    true = {case: [str(int(channel in arrays)) for channel in channels] for case, arrays in truth.arrays.items()}
    shown = {row[0]: row[2:] for row in rows}
    if shown.keys() != true.keys() or any(shown[case] != true[case] for case in true if case not in unread):
        return "silently wrong", f"the table is {shown}, not {true}"
    found = [(case.case, problem) for case in cases for problem in case.problems]
    for case, words in truth.problems:
        of_case = [problem for name, problem in found if name == case] if case else beside
        if not any(holds(problem, words) for problem in of_case):
            if case in truth.may and not of_case:
                continue
            return ("refused vaguely" if of_case else "silently wrong"), f"no problem of {case} with {words}: {of_case}"
    known = truth.may | {case for case, _ in truth.problems}
    needless = [problem for case, problem in found if case not in known]
    needless += [problem for problem in beside if not explained(truth, problem)]
    if needless:
        return "refused needlessly", str(needless)
    if any(problem not in text for _, problem in found):
        return "silently wrong", "a problem is not in the report"
    return ("refused rightly" if truth.problems else "accepted rightly"), ""


def explained(truth: DatasetTruth, problem: str) -> bool:
    """Whether a problem beside the cases is one that was made."""
    made = any(case is None and holds(problem, words) for case, words in truth.problems)
    return made or "" in truth.may or ("labelsTr has label maps" in problem and bool(truth.failures))


def judge_evaluation(truth: DatasetTruth, oracle: Oracle, rng: np.random.Generator, *, report: bool) -> Verdict:
    """Evaluate the dataset's model on subsets that are chosen here; return what became of it."""
    channels = range(len(truth.names))
    number = len(truth.names)
    sizes = [int(rng.integers(1, number + 1)) for _ in range(3)]
    subsets = [tuple(sorted(rng.permutation(number)[:size].tolist())) for size in sizes]
    words = [write_subset([truth.names[channel] for channel in subset]) for subset in subsets]
    kind = float(rng.random())
    if number > 8 or kind < 0.2:
        subsets += [(channel,) for channel in channels]
        words.append("alone")
    elif kind < 0.4 and number <= 4:
        subsets = [tuple(c for c in channels if bits >> c & 1) for bits in range(1, 2**number)]
        words = []
    name, good = list(MODEL_NAMES.items())[int(rng.integers(0, len(MODEL_NAMES)))]
    if rng.random() < 0.7:
        name, good = "A", True
    reasons = [words for command, words in truth.refused if command == "evaluate"]
    validated = [(fold, case) for fold, cases in truth.folds.items() for case in cases]
    reasons += [truth.values[case] for _, case in validated if case in truth.values]
    costs = {case: truth.failures[case] for _, case in validated if case in truth.failures}
    usable = [(fold, case) for fold, case in validated if case not in costs]
    must_refuse = bool(reasons) or not usable or not good
    scored = {
        (str(fold), case, tuple(truth.names[channel] for channel in subset)): (case, subset)
        for fold, case in usable
        for subset in subsets
        if set(subset) <= truth.arrays[case].keys()
    }
    output = truth.root / "output"
    try:
        try:
            models = tuple(name_models([f"{name}={truth.model}"], None))
        except (ValueError, OSError) as error:  # for both the command ends with code 2
            return ("refused needlessly" if good else "refused rightly"), str(error)
        if not good or models != (NamedModel(name, truth.model, None),):
            return "silently wrong", f"the model {name!r} is called {models}"
        request = make_request(truth, models, output, words)
        with contextlib.nullcontext() if report else patch.object(report_module, "write_evaluation", return_value=[]):
            outcome = evaluate_module.evaluate(request)
    except UsageError as error:
        if not must_refuse:
            return "refused needlessly", str(error)
        every = not reasons and not usable and all(holds(str(error), costs[case]) for case in costs)
        named = any(holds(str(error), words) for words in reasons) or every
        if output.exists():
            return "silently wrong", "refused, and yet something was written"
        return "refused rightly" if named else "refused vaguely", str(error)
    except FailedError as error:
        right = not must_refuse and not scored and not costs
        return ("refused rightly" if right else "refused needlessly"), str(error)
    except Exception:
        return "crashed", traceback.format_exc()[-1500:]
    if must_refuse:
        return "silently wrong", f"accepted, expected a refusal with {reasons}"
    for case, named_by in costs.items():
        if not any(case in line and holds(line, named_by) for line in outcome.failures):
            return "refused vaguely", f"no failure of {case} with {named_by}: {outcome.failures}"
    if len(outcome.failures) != len(costs):
        return "refused needlessly", str(outcome.failures)
    if not scored:
        return "refused rightly", ""
    return judge_scores(truth, oracle, output, scored, "refused rightly" if costs else "accepted rightly")


def judge_scores(
    truth: DatasetTruth,
    oracle: Oracle,
    output: Path,
    scored: dict[tuple[str, str, tuple[str, ...]], tuple[str, tuple[int, ...]]],
    right: str,
) -> Verdict:
    """Compare scores.csv with the Dice that the bare network has on what must be scored."""
    found: dict[tuple[str, str, tuple[str, ...]], dict[str, float]] = {}
    for row in read_scores(output / "scores.csv"):
        found.setdefault((row.fold, row.case, parse_subset(row.subset)), {})[row.region] = row.dice
    if found.keys() != scored.keys():
        return "silently wrong", f"scored {sorted(found)}, not {sorted(scored)}"
    for key, (case, subset) in scored.items():
        labels, undecided = oracle.segment(case, subset)
        expected = dice_of(labels, truth.references[case], truth, undecided=undecided)
        if expected.keys() != found[key].keys():
            return "silently wrong", f"{key}: the regions are {list(found[key])}, not {list(expected)}"
        for region, (dice, off) in expected.items():
            other = found[key][region]
            both_empty = math.isnan(dice) and math.isnan(other)
            if not (both_empty or math.isclose(dice, other, rel_tol=0, abs_tol=1e-9 + off)):
                return "silently wrong", f"{key}: the Dice of {region} is {other}, not {dice} (within {off:.2g})"
    return right, ""


def make_request(truth: DatasetTruth, models: tuple[NamedModel, ...], output: Path, words: Sequence[str]) -> Request:
    """Return the request of an evaluation on the validation cases of every fold."""
    return Request(
        models=models,
        baseline=models[0].name,
        images=None,
        references=None,
        checkpoint_name="checkpoint_final.pth",
        output=output,
        subset_words=tuple(words),
        convention="auto",
        tolerance_mm=1.0,
        least_size={},
        label_map=truth.label_map,
        patient_pattern=None,
        settings=PredictionSettings(tile_step_size=0.5, mirroring=False),
        device=torch.device("cpu"),
        jobs=1,
        command="fuzz",
    )


def spoil(truth: DatasetTruth, rng: np.random.Generator) -> Oracle:
    """Change the dataset in zero to two ways; return the oracle of its model, which is made on the way."""
    kinds = [fuzz_descriptions.SHARED, fuzz_descriptions.RAW, fuzz_references.REFERENCES, fuzz_splits.SPLITS]
    number = int(rng.choice([0, 1, 2], p=[0.05, 0.65, 0.3]))
    drawn = sorted(rng.choice(len(kinds), number, p=[0.2, 0.25, 0.35, 0.2]).tolist())
    # Two references may be changed; two changes of one file would undo each other.
    chosen = drawn if kinds[drawn[0] if drawn else 0] is fuzz_references.REFERENCES else sorted(set(drawn))
    oracle = Oracle(truth, with_split=bool(rng.random() < 0.6))
    for index in chosen:
        names = list(kinds[index])
        for _ in range(20):  # until one applies
            name = names[int(rng.integers(0, len(names)))]
            if name in truth.done:
                continue
            if kinds[index][name](truth, rng):
                truth.done.append(name)
                break
        if kinds[index] is fuzz_descriptions.SHARED and rng.random() < 0.5:
            (truth.model / "dataset.json").write_text(json.dumps(truth.content))
    return oracle


def fuzz_one(folder: Path, state: int, *, modalities: int | None, report: bool) -> tuple[DatasetTruth, Verdicts]:
    """Make, change and judge the dataset that this state of the random numbers gives; return its verdicts."""
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(state)
    paths = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        truth = make_dataset(folder, rng, modalities=modalities)
        with patch.dict(os.environ, paths):
            oracle = spoil(truth, rng)
            inspected = judge_inspection(truth)
            return truth, {"inspect": inspected, "evaluate": judge_evaluation(truth, oracle, rng, report=report)}


def fuzz_datasets(root: Path, number: int, rng: np.random.Generator, show: int) -> Counter[str]:
    """Return the tally over ``number`` datasets, each by the worse of its two verdicts."""
    tally: Counter[str] = Counter()
    commands: dict[str, Counter[str]] = {"inspect": Counter(), "evaluate": Counter()}
    of_change: dict[str, Counter[str]] = {name: Counter() for name in [*CHANGES, "none"]}
    for index in range(number):
        state = int(rng.integers(0, 2**31))
        modalities, report = MANY if index % MANY_OF == 1 else None, index % REPORTS == 0
        truth, verdicts = fuzz_one(root / "dataset", state, modalities=modalities, report=report)
        worst = max((word for word, _ in verdicts.values()), key=ORDER.index)
        tally[worst] += 1
        done = [name for name in truth.done if name in CHANGES]
        for name in done or ["none"]:
            of_change[name][worst] += 1
        for command, (word, reason) in verdicts.items():
            commands[command][word] += 1
            if word in ORDER[2:] and tally[word] <= show:
                which = f"dataset {index} (state {state}, modalities {modalities}, report {report})"
                what = f"{truth.reader} {truth.ending} {done} {truth.content}"
                print(f"{word}: {command}, {which}: {what[:700]}: {reason[:1500]}", flush=True)
        if (index + 1) % 50 == 0:
            print(f"{index + 1} datasets: {dict(tally)}", flush=True)
    for name, counts in {**of_change, **commands}.items():
        print(f"  {name:40} {dict(counts)}")
    return tally
