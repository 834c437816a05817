"""Finds the cases on which a model is evaluated: the validation cases of its folds, or a folder of test cases.

A model is never evaluated on cases that it was trained on: each validation case is predicted only by the fold that was
not trained on it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_missingmod.cases.files import CaseRefusedError, assign_channels, case_name
from nnunet_missingmod.inference.model_files import BEST, Fold, ModelFolderError, choose_folds, read_model_json
from nnunet_missingmod.modalities import channel_names


@dataclass(frozen=True)
class EvaluationCase:
    """A case with its reference.

    Attributes:
        case: its name.
        files: {channel: file} of the modalities that it has.
        reference: its label map.
    """

    case: str
    files: dict[int, Path]
    reference: Path


@dataclass(frozen=True)
class EvaluationSet:
    """Cases that are predicted by the same folds of a model; the logits of several folds are averaged.

    Attributes:
        folds: the folds of the model.
        cases: the cases that can be evaluated.
        refused: {case: reason} of the cases that cannot be evaluated.
    """

    folds: tuple[Fold, ...]
    cases: list[EvaluationCase]
    refused: dict[str, str]

    @property
    def fold_name(self) -> str:
        """The folds that predicted, as the score file names them."""
        return "+".join(map(str, self.folds))


def validation_sets(folder: Path, folds: Sequence[Fold] | None, *, checkpoint_name: str) -> list[EvaluationSet]:
    """Return the validation cases of each fold of a model, to be predicted by that fold.

    Raises:
        ModelFolderError: images, references or the split are not in nnU-Net's folders, the model has no validation
            cases, or its checkpoint was selected on them.
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
    splits = _read_splits(dataset_name)
    raw = _nnunet_folder("nnUNet_raw") / dataset_name
    if not raw.is_dir():
        raise ModelFolderError(f"The images of {dataset_name} are not in {raw}; evaluating needs the raw dataset.")
    images, labels = _training_files(raw, dataset_json["file_ending"])
    sets = []
    owner: dict[str, Fold] = {}
    for fold in chosen:
        if not isinstance(fold, int) or fold >= len(splits):
            raise ModelFolderError(f"splits_final.json of {dataset_name} has {len(splits)} folds, no fold {fold}.")
        for case in splits[fold]["val"]:
            if case in owner:
                raise ModelFolderError(
                    f"Case {case} of {dataset_name} is a validation case of folds {owner[case]} and {fold}: evaluate "
                    "the folds one at a time (-f)."
                )
            owner[case] = fold
        of_fold = {case: images.get(case, []) for case in splits[fold]["val"]}
        sets.append(_evaluation_set((fold,), of_fold, labels, dataset_json))
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
    ending = dataset_json["file_ending"]
    for path in (images, references):
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is no folder.")
    files = _files_by_case(images, ending)
    if not files:
        raise FileNotFoundError(f"There is no case in {images}: expected files CASE_0000{ending} and so on.")
    labels = {case: references / f"{case}{ending}" for case in files}
    return _evaluation_set(chosen, files, labels, dataset_json)


def _files_by_case(folder: Path, file_ending: str) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.glob(f"*{file_ending}")):
        files.setdefault(case_name(file, file_ending), []).append(file)
    return files


def _training_files(raw: Path, file_ending: str) -> tuple[dict[str, list[Path]], dict[str, Path]]:
    """Return the images and the reference of each training case; they may be listed in dataset.json."""
    try:
        listed = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"The raw dataset {raw} has no dataset.json that can be read: {error}.") from error
    if "dataset" in listed:
        found = get_filenames_of_train_images_and_targets(str(raw), listed)
        images = {case: [Path(file) for file in files["images"]] for case, files in found.items()}
        return images, {case: Path(files["label"]) for case, files in found.items()}
    images = _files_by_case(raw / "imagesTr", file_ending)
    return images, {case: raw / "labelsTr" / f"{case}{file_ending}" for case in images}


def _evaluation_set(
    folds: tuple[Fold, ...],
    files: Mapping[str, Sequence[Path]],
    references: Mapping[str, Path],
    dataset_json: Mapping[str, Any],
) -> EvaluationSet:
    cases, refused = [], {}
    names = channel_names(dataset_json)
    for case in sorted(files):
        try:
            if not files[case]:
                raise CaseRefusedError(case, "it has no image in the raw dataset.")
            assigned = assign_channels(files[case], names, dataset_json["file_ending"])
            if not references[case].is_file():
                raise CaseRefusedError(case, f"its reference {references[case]} does not exist.")
        except CaseRefusedError as error:
            refused[case] = error.problem
            continue
        cases.append(EvaluationCase(case, assigned, references[case]))
    return EvaluationSet(folds, cases, refused)


def _read_splits(dataset_name: str) -> list[dict[str, list[str]]]:
    file = _nnunet_folder("nnUNet_preprocessed") / dataset_name / "splits_final.json"
    try:
        splits: list[dict[str, list[str]]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(
            f"The folds of {dataset_name} cannot be read: {error}. nnU-Net writes splits_final.json when it trains a "
            "fold; without it evaluate a test folder (-i, -ref)."
        ) from error
    return splits


def _nnunet_folder(variable: str) -> Path:
    if not os.environ.get(variable):
        raise ModelFolderError(f"{variable} is not set: validation cases are looked for there. Or give -i and -ref.")
    return Path(os.environ[variable])
