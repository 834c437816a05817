"""Finds the cases on which a model is evaluated: the validation cases of its folds, or a folder of test cases.

A model is never evaluated on cases that it was trained on: each validation case is predicted only by the fold that was
not trained on it. What is known of that is in ``split``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_missingmod.benchmarking.split import nnunet_folder, training_cases, validation_split
from nnunet_missingmod.cases.dataset import find_raw_cases, read_dataset_json
from nnunet_missingmod.cases.files import CaseFiles, find_cases
from nnunet_missingmod.errors import UsageError, listed
from nnunet_missingmod.inference.model_files import BEST, Fold, ModelFolderError, choose_folds, read_model_json
from nnunet_missingmod.modalities import channel_names
from nnunet_missingmod.storage import fingerprint, name_problem

_SAMPLES = 16
_SAMPLE_BYTES = 4096
_DIGITS = 16  # hexadecimal, of a fingerprint that tells the same files from others
_listed = partial(listed, most=10, rest="{} more")


@dataclass(frozen=True)
class EvaluationCase:
    """A case with its reference.

    Attributes:
        case: its name.
        files: {channel: file} of the modalities that it has.
        reference: its label map.
    """

    case: str
    files: Mapping[int, Path]
    reference: Path

    def contents(self) -> tuple[str, str]:
        """Return fingerprints of the images and of the reference, wherever they lie and whatever their dates are.

        Of a large file, its size and samples are read, so that this costs little also over a network. Files that
        differ in nothing else have one fingerprint.

        Raises:
            OSError: a file cannot be read.
        """
        images = {str(channel): _sampled(file) for channel, file in sorted(self.files.items())}
        return fingerprint(images)[:_DIGITS], fingerprint(_sampled(self.reference))[:_DIGITS]


@dataclass(frozen=True)
class EvaluationSet:
    """Cases that are predicted by the same folds of a model; the logits of several folds are averaged.

    Attributes:
        folds: the folds of the model.
        cases: the cases that can be evaluated.
        refused: {case: reason} of the cases that cannot be evaluated.
        notes: what the reader of the scores should know of these cases, in sentences.
        seen: cases with the names of cases that the model was trained on.
    """

    folds: tuple[Fold, ...]
    cases: list[EvaluationCase]
    refused: dict[str, str]
    notes: tuple[str, ...] = ()
    seen: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """All cases, those that cannot be evaluated among them."""
        return [*(case.case for case in self.cases), *self.refused]

    @property
    def fold_name(self) -> str:
        """The folds that predicted, as the score file names them; empty if there are none."""
        return "+".join(map(str, self.folds))


def validation_sets(folder: Path, folds: Sequence[Fold] | None, *, checkpoint_name: str) -> list[EvaluationSet]:
    """Return the validation cases of each fold of a model, to be predicted by that fold.

    Raises:
        ModelFolderError: images, references or the split are not in nnU-Net's folders, the model has no validation
            cases, was trained on some of them, or its checkpoint was selected on them.
    """
    if checkpoint_name == BEST:
        raise ModelFolderError(
            f"{BEST} of {folder} was selected on the validation cases, so that they say too much good of it. Evaluate "
            "checkpoint_final.pth, or a test folder (-i, -ref)."
        )
    chosen = choose_folds(folder, folds, checkpoint_name)
    if "all" in chosen:
        raise ModelFolderError(
            f"Fold all of {folder} was trained on every case: evaluate it on a test folder (-i, -ref)."
        )
    dataset_json = read_model_json(folder, "dataset.json")
    dataset_name = read_model_json(folder, "plans.json")["dataset_name"]
    raw = _raw_dataset(dataset_name)
    found, references = _training_cases(raw, dataset_json)
    sets = []
    owner: dict[str, Fold] = {}
    for fold in chosen:
        split, note = validation_split(folder, fold, dataset_name, file_ending=dataset_json["file_ending"])
        for case in split:
            if case in owner:
                raise ModelFolderError(
                    f"Case {case} of {dataset_name} is a validation case of folds {owner[case]} and {fold}: evaluate "
                    "the folds one at a time (-f)."
                )
            owner[case] = fold
        of_fold = [found.get(case, CaseFiles(case, {}, ("it has no image in the raw dataset.",))) for case in split]
        sets.append(_evaluation_set((fold,), of_fold, references, notes=(note,) if note else ()))
    if not owner:
        raise ModelFolderError(
            f"Fold {'+'.join(map(str, chosen))} of {folder} has no validation case: its split.json, or "
            f"splits_final.json of {dataset_name}, names none. Evaluate other folds (-f), or a test folder (-i, -ref)."
        )
    return sets


def test_set(
    folder: Path, folds: Sequence[Fold] | None, images: Path, references: Path, *, checkpoint_name: str
) -> EvaluationSet:
    """Return the cases of a folder, to be predicted by the model's folds together.

    Raises:
        ModelFolderError: the model lacks a requested fold.
        FileNotFoundError: there is no case in ``images``, or a folder does not exist.
    """
    chosen = choose_folds(folder, folds, checkpoint_name)
    dataset_json = read_model_json(folder, "dataset.json")
    of_folder = folder_set(images, references, channel_names(dataset_json), dataset_json["file_ending"])
    names, notes = set(of_folder.names), list(of_folder.notes)
    known, unknown = training_cases(folder, chosen, str(read_model_json(folder, "plans.json").get("dataset_name")))
    seen = sorted(names & known)
    if seen:
        notes.append(
            f"Cases with the names of training cases: {_listed(seen)}. If they are the same patients, their scores say "
            "too much good of the model."
        )
    if unknown:
        notes.append(
            f"It is not known which cases fold {', '.join(map(str, unknown))} was trained on, and so not checked that "
            "none of these is among them."
        )
    return replace(of_folder, folds=chosen, notes=tuple(notes), seen=frozenset(seen))


def first_with_cases(sets: Sequence[EvaluationSet]) -> EvaluationSet | None:
    """Return the first set that has a case to evaluate, or None."""
    return next((each for each in sets if each.cases), None)


def folder_set(images: Path, references: Path, modalities: Sequence[str], file_ending: str) -> EvaluationSet:
    """Return the cases of a folder, of no folds.

    Raises:
        FileNotFoundError: there is no case in ``images``, or a folder does not exist.
    """
    for path in (images, references):
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is no folder.")
    found = find_cases(images, modalities, file_ending)
    if not found:
        raise FileNotFoundError(f"There is no case in {images}: expected files CASE_0000{file_ending} and so on.")
    names = {case.case for case in found}
    labels = {case: references / f"{case}{file_ending}" for case in names}
    notes = []
    lonely = [case for case in _label_maps(references, file_ending) if case not in names]
    if lonely:
        notes.append(f"References without images in {images}, which are not evaluated: {_listed(lonely)}.")
    return _evaluation_set((), found, labels, notes=notes)


def _label_maps(folder: Path, file_ending: str) -> list[str]:
    files = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    return [name.removesuffix(file_ending) for name in files if name.endswith(file_ending)]


def _training_cases(raw: Path, dataset_json: Mapping[str, Any]) -> tuple[dict[str, CaseFiles], dict[str, Path]]:
    """Return the training cases of a raw dataset and their references; they may be listed in its dataset.json."""
    try:
        listing = read_dataset_json(raw).get("dataset")
        # Channels and file ending are those that the model was trained with.
        content = {key: value for key, value in dataset_json.items() if key != "dataset"}
        found, labels = find_raw_cases(raw, content | ({"dataset": listing} if listing else {}))
    except (UsageError, OSError) as error:
        raise ModelFolderError(str(error)) from error
    cases = {case.case: case for split, case in found if split == "Tr"}
    return cases, {case: file for (split, case), file in labels.items() if split == "Tr"}


def _evaluation_set(
    folds: tuple[Fold, ...],
    found: Iterable[CaseFiles],
    references: Mapping[str, Path],
    *,
    notes: Sequence[str],
) -> EvaluationSet:
    cases, refused = [], {}
    for case in sorted(found, key=lambda case: case.case):
        reference = references.get(case.case)
        problem = name_problem(case.case)
        if problem:
            refused[case.case] = f"its name {problem}, and its predictions are called after it: rename it."
        elif case.problems:
            refused[case.case] = " ".join(case.problems)
        elif reference is None or not reference.is_file():
            refused[case.case] = _without_reference(case.case, reference)
        else:
            cases.append(EvaluationCase(case.case, case.files, reference))
    return EvaluationSet(folds, cases, refused, tuple(notes))


def _sampled(file: Path) -> str:
    """Return a fingerprint of a file's size and of evenly spaced samples, the last bytes among them.

    The last bytes of a gzip file are a checksum of all that it holds.
    """
    size = file.stat().st_size
    computed = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            computed.update(stream.read())
        else:
            for sample in range(_SAMPLES):
                stream.seek(sample * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                computed.update(stream.read(_SAMPLE_BYTES))
    return computed.hexdigest()


def _without_reference(case: str, expected: Path | None) -> str:
    """Say that a case has no reference, and which files may be meant for it."""
    if expected is None:
        return "it has no reference."
    alike: list[str] = []
    if expected.parent.is_dir():
        alike = sorted(file.name for file in expected.parent.iterdir() if file.name.startswith(f"{case}."))
    near = f" {', '.join(alike)} is not called so: rename or convert." if alike else ""
    return f"its reference {expected} does not exist.{near}"


def _raw_dataset(dataset_name: str) -> Path:
    raw = nnunet_folder("nnUNet_raw") / dataset_name
    if not raw.is_dir():
        raise ModelFolderError(f"The images of {dataset_name} are not in {raw}; evaluating needs the raw dataset.")
    return raw
