"""Packs a model for others: a zip without code and with checksums, or one that stock nnU-Net installs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nnunet_missingmod import __version__
from nnunet_missingmod.evaluation.model_card import FILE_NAME
from nnunet_missingmod.inference.advise import ExpectedAccuracy
from nnunet_missingmod.inference.model_files import Fold, ModelFolderError
from nnunet_missingmod.inference.model_folder import ModelFolder
from nnunet_missingmod.inference.share_page import page_of
from nnunet_missingmod.sharing.archive import zip_writer
from nnunet_missingmod.sharing.manifest import MANIFEST, README, WEIGHTS, Member, check_name, make_manifest, member_of
from nnunet_missingmod.storage import name_problem
from nnunet_missingmod.training.checkpoints import read_checkpoint
from nnunet_missingmod.training.safe_checkpoint import safe_contents, without_training

# Every model folder has them, and the fingerprint of a model depends on every value in them.
_DESCRIPTION = ("dataset.json", "plans.json")


def share_model(model: ModelFolder, file: Path, *, license: str, accuracy: ExpectedAccuracy | None) -> None:
    """Write the zip of a model that ``predict -m`` takes; equal models give equal zips.

    Args:
        model: whose chosen folds are packed.
        file: the zip, which is replaced if it is there.
        license: see ``share_page.check_license``.
        accuracy: of the model's card, which is packed too; None if it has none that holds for these weights.

    Raises:
        ModelFolderError: something of the model cannot be packed.
        OSError: the zip cannot be written.
    """
    name = _name_of(model)
    members: dict[str, Member] = {}
    with zip_writer(file) as write:

        def add(path: str, content: bytes) -> None:
            check_name(path, str(model.folder))
            members[path] = member_of(content)
            write(path, content)

        _add_description(model, add, name=name, license=license, accuracy=accuracy)
        for fold, checkpoint in _checkpoints(model):
            stem = Path(model.checkpoint_name).stem
            try:
                weights, rest = safe_contents(checkpoint)
            except ValueError as error:
                raise ModelFolderError(f"Model {model.folder}, fold {fold}: {error}") from error
            add(f"fold_{fold}/{stem}{WEIGHTS}", weights)
            add(f"fold_{fold}/{stem}.json", rest)
        write(MANIFEST, make_manifest(name, _versions(), members).content)


def share_for_nnunet(model: ModelFolder, file: Path, *, license: str, accuracy: ExpectedAccuracy | None) -> None:
    """Write the zip of a model that ``nnUNetv2_install_pretrained_model_from_zip`` unpacks into nnUNet_results.

    Its checkpoints are pickled, as nnU-Net reads them, and hold what prediction needs.

    Raises:
        ModelFolderError: something of the model cannot be packed.
        OSError: the zip cannot be written.
    """
    dataset, name = str(model.plans.get("dataset_name")), _name_of(model)
    if problem := name_problem(dataset):
        raise ModelFolderError(f"dataset_name in plans.json of {model.folder} is {dataset!r}: it {problem}.")
    with zip_writer(file) as write:

        def add(path: str, content: bytes) -> None:
            write(f"{dataset}/{name}/{path}", content)

        _add_description(model, add, name=name, license=license, accuracy=accuracy, for_nnunet=True)
        for fold, checkpoint in _checkpoints(model):
            saved = io.BytesIO()
            torch.save(without_training(checkpoint), saved)
            add(f"fold_{fold}/{model.checkpoint_name}", saved.getvalue())


def names_of_cases(model: ModelFolder, accuracy: ExpectedAccuracy | None) -> dict[str, int]:
    """Return which files that are packed name cases, and how many: names may tell who the patients are."""
    found = {
        "dataset.json": len(model.dataset_json.get("dataset") or ()),
        FILE_NAME: 0 if accuracy is None else len(accuracy.card.cases),
    }
    return {name: number for name, number in found.items() if number}


def _add_description(
    model: ModelFolder,
    add: Callable[[str, bytes], None],
    *,
    name: str,
    license: str,
    accuracy: ExpectedAccuracy | None,
    for_nnunet: bool = False,
) -> None:
    """Add everything but the weights."""
    page = page_of(model, name=name, license=license, versions=_versions(), accuracy=accuracy, for_nnunet=for_nnunet)
    add(README, page.encode())
    for each in (*_DESCRIPTION, *([] if accuracy is None else [FILE_NAME])):
        add(each, (model.folder / each).read_bytes())


def _checkpoints(model: ModelFolder) -> Iterator[tuple[Fold, dict[str, Any]]]:
    for fold, file in zip(model.folds, model.checkpoints, strict=True):
        yield fold, read_checkpoint(file)


def _name_of(model: ModelFolder) -> str:
    """Return the name by which nnU-Net finds the folder, whatever it is called here."""
    parts = model.folder.resolve().name.split("__")
    plans = parts[1] if len(parts) == 3 else str(model.plans.get("plans_name"))
    name = f"{model.trainer}__{plans}__{model.configuration}"
    if problem := name_problem(name):
        raise ModelFolderError(f"The model {model.folder} would be called {name!r}, which {problem}.")
    return name


def _versions() -> dict[str, str]:
    return {"nnunet_missingmod": __version__, "nnunetv2": version("nnunetv2"), "torch": torch.__version__}
