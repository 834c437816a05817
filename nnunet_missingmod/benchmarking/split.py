"""Tells which cases a fold was not trained on: by the split that its training wrote, else by what nnU-Net left of it.

nnU-Net keeps no copy of splits_final.json, which may have been changed since. Our trainers write the split that they
use (``training.split``). Of other models, the finished validation and the log of the training tell something.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_missingmod.inference.model_files import Fold, ModelFolderError
from nnunet_missingmod.training.split import Split, SplitError, parse_split, read_split

_SIZES = re.compile(r"This split has (\d+) training and (\d+) validation cases")
_EPOCH = re.compile(r"Epoch \d+")
_FIX = "Restore the splits_final.json of the training, train the fold again, or evaluate a test folder (-i, -ref)."


def validation_split(
    folder: Path, fold: Fold, dataset_name: str, *, file_ending: str
) -> tuple[tuple[str, ...], str | None]:
    """Return the validation cases of a fold, and a sentence on what could not be checked of them, if anything.

    They are those of the fold's own split. A model without one has those of splits_final.json, if its validation and
    log agree.

    Raises:
        ModelFolderError: splits_final.json calls a case that the model was trained on a validation case, was changed
            since the training, or is needed and cannot be read.
    """
    own = _own_split(folder, fold)
    if own is not None:
        # Read for what it says against the model only: without it the model's own split is enough.
        try:
            final = _final_split(dataset_name, fold)
        except ModelFolderError:
            final = None
        trained_on = set(own.train) & {*own.val, *(final.val if final else ())}
        if trained_on:
            raise ModelFolderError(
                f"Fold {fold} of {folder} was trained on {', '.join(sorted(trained_on))}, which splits_final.json of "
                f"{dataset_name} calls validation cases now: they say too much good of the model. {_FIX}"
            )
        return own.val, None
    final = _final_split(dataset_name, fold)
    trained_on = set(final.train) & set(final.val)
    if trained_on:
        raise ModelFolderError(
            f"splits_final.json of {dataset_name} has {', '.join(sorted(trained_on))} as training and as validation "
            f"cases of fold {fold}: they say too much good of the model. {_FIX}"
        )
    return final.val, _check_by_remains(folder / f"fold_{fold}", final, file_ending=file_ending)


def training_cases(folder: Path, folds: Sequence[Fold], dataset_name: str) -> tuple[set[str], list[Fold]]:
    """Return the cases that any of the folds was trained on, as far as is known, and the folds of which it is not."""
    known: set[str] = set()
    unknown = []
    for fold in folds:
        split = _own_split(folder, fold)
        try:
            known.update(_final_split(dataset_name, fold).train if split is None else split.train)
        except ModelFolderError:
            unknown.append(fold)
    return known, unknown


def _own_split(folder: Path, fold: Fold) -> Split | None:
    try:
        return read_split(folder / f"fold_{fold}")
    except SplitError as error:
        raise ModelFolderError(str(error)) from error


def _check_by_remains(fold_folder: Path, final: Split, *, file_ending: str) -> str | None:
    """Compare a split with the validation and the log that a training without a record of its split left.

    Returns:
        What could not be checked, or None if the validation proves the split.

    Raises:
        ModelFolderError: they contradict the split.
    """
    validated, is_complete = _validated_cases(fold_folder / "validation", file_ending)
    strange = sorted(set(final.val) - validated) if is_complete else sorted(validated - set(final.val))
    if strange:
        found = "has no prediction of them" if is_complete else "has predictions of them"
        calls = "validation cases" if is_complete else "no validation cases"
        raise ModelFolderError(
            f"splits_final.json was changed since {fold_folder} was trained: it calls {', '.join(strange)} {calls}, "
            f"and {fold_folder / 'validation'} {found}. {_FIX}"
        )
    sizes = _sizes_in_log(fold_folder)
    now = (len(final.train), len(final.val))
    if sizes is not None and sizes != now:
        raise ModelFolderError(
            f"splits_final.json was changed since {fold_folder} was trained: the log tells of {sizes[0]} training and "
            f"{sizes[1]} validation cases, and now there are {now[0]} and {now[1]}. {_FIX}"
        )
    if is_complete:
        return None
    log = "has no log that tells how many" if sizes is None else "has a log that tells their numbers only"
    return (
        f"{fold_folder.name} has no split.json and no finished validation, and {log}: that it was not trained on its "
        "validation cases rests on splits_final.json, and could not be checked."
    )


def _validated_cases(folder: Path, file_ending: str) -> tuple[set[str], bool]:
    """Return the cases that nnU-Net's validation predicted, and whether it came to its end."""
    try:
        entries = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["metric_per_case"]
        names = [Path(entry["prediction_file"]).name for entry in entries]
        is_complete = True
    except (OSError, ValueError, KeyError, TypeError):
        names = [file.name for file in folder.glob(f"[!.]*{file_ending}")]
        is_complete = False
    return {name.removesuffix(file_ending) for name in names}, is_complete


def _sizes_in_log(fold_folder: Path) -> tuple[int, int] | None:
    """Return the numbers of training and validation cases in the newest log of a training, validations apart."""
    logs = sorted(fold_folder.glob("training_log_*.txt"), key=lambda file: file.stat().st_mtime, reverse=True)
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace")
        sizes = _SIZES.findall(text)
        if sizes and _EPOCH.search(text):
            return int(sizes[0][0]), int(sizes[0][1])
    return None


def _final_split(dataset_name: str, fold: Fold) -> Split:
    """Return the fold's split in splits_final.json; fold ``all`` has every case in both parts.

    Raises:
        ModelFolderError: it cannot be read, or lacks the fold.
    """
    splits = read_final_splits(dataset_name)
    if fold == "all":
        every = tuple(sorted({case for split in splits for case in (*split.train, *split.val)}))
        return Split(every, every)
    if not isinstance(fold, int) or fold >= len(splits):
        raise ModelFolderError(f"splits_final.json of {dataset_name} has {len(splits)} folds, no fold {fold}.")
    return splits[fold]


def read_final_splits(dataset_name: str) -> list[Split]:
    """Return the splits in nnU-Net's splits_final.json as it is now.

    Raises:
        ModelFolderError: it cannot be read.
    """
    file = nnunet_folder("nnUNet_preprocessed") / dataset_name / "splits_final.json"
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8-sig"))
        return [parse_split(each) for each in content]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelFolderError(
            f"The folds of {dataset_name} cannot be read from {file}: {error}. nnU-Net writes it when it trains a "
            "fold; without it evaluate a test folder (-i, -ref)."
        ) from error


def nnunet_folder(variable: str) -> Path:
    """Return the folder that one of nnU-Net's environment variables names.

    Raises:
        ModelFolderError: it is not set.
    """
    if not os.environ.get(variable):
        raise ModelFolderError(f"{variable} is not set: validation cases are looked for there. Or give -i and -ref.")
    return Path(os.environ[variable])
