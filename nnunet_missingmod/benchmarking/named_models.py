"""The models of an evaluation under the names that tables give them: nnU-Net's, and those from outside.

A model from outside is a folder of predictions, or files of scores, of any network. Its name bears a mark wherever it
stands, since nothing here knows how its predictions were made.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_missingmod.sharing.local import local_folder
from nnunet_missingmod.storage import file_fingerprint, fingerprint, name_problem

if TYPE_CHECKING:
    from nnunet_missingmod.inference.model_files import Fold

MARK = " (outside)"


@dataclass(frozen=True)
class NamedModel:
    """A model folder under the name that tables give it; ``folds`` are those asked for, None for all."""

    name: str
    folder: Path
    folds: tuple[Fold, ...] | None


@dataclass(frozen=True)
class OutsideModel:
    """A model of which there are predictions or scores alone.

    Attributes:
        name: as tables give it, with `MARK`.
        predictions: the folder of its predictions, or None.
        scores: its files of scores, one for each run.
    """

    name: str
    predictions: Path | None
    scores: tuple[Path, ...] = ()

    @property
    def given_name(self) -> str:
        """The name without its mark."""
        return self.name.removesuffix(MARK)

    @property
    def source(self) -> str:
        """Where its scores come from, in words."""
        if self.predictions is not None:
            return f"predictions that lie in {self.predictions.absolute()}; how they were made is not known here"
        files = ", ".join(str(file.absolute()) for file in self.scores)
        return f"scores in {files}; how they were made is not known here"

    def fingerprint(self) -> str:
        """Return the SHA-256 of its files of scores.

        Raises:
            OSError: one of them cannot be read.
        """
        return fingerprint([file_fingerprint(file) for file in self.scores])


def name_models(given: Sequence[str | Path], folds: Sequence[Fold] | None) -> list[NamedModel]:
    """Return the models with their names: the one before ``=`` where there is one, else the trainer's.

    Where that is not enough to tell them apart it is the folder's name.

    Args:
        given: ``FOLDER`` or ``NAME=FOLDER`` each; a shared model as ``local_folder`` takes it.
        folds: of every model, None for all it has.

    Raises:
        ValueError: two models have one name, a name cannot be that of a folder, or a shared model is torn or changed.
    """
    names: list[str | None] = []
    folders: list[Path] = []
    for each in given:
        name, folder = _named_path(each)
        names.append(name)
        folders.append(local_folder(folder))
    trainers = Counter(folder.resolve().name.split("__")[0] for folder in folders)
    for index, folder in enumerate(folders):
        trainer = folder.resolve().name.split("__")[0]
        if names[index] is None:
            names[index] = trainer if trainers[trainer] == 1 else folder.resolve().name
    _check_names(list(map(str, names)))
    chosen = None if folds is None else tuple(folds)
    return [NamedModel(str(name), folder, chosen) for name, folder in zip(names, folders, strict=True)]


def name_outside(predictions: Sequence[str], scores: Sequence[str], *, taken: Sequence[str] = ()) -> list[OutsideModel]:
    """Return the models from outside, their names marked.

    Args:
        predictions: ``NAME=FOLDER`` each, or a folder, which the model is then called after.
        scores: ``NAME=FILE`` each, likewise; files of one name are runs of one model, such as folds or seeds.
        taken: names of other models.

    Raises:
        ValueError: a folder or file is not there, two models have one name, or a name cannot be that of a folder.
    """
    folders: dict[str, Path] = {}
    names = []
    for each in predictions:
        name, folder = _named_path(each)
        if not folder.is_dir():
            raise ValueError(f"--predictions: there is no folder {folder}.")
        names.append((folder.resolve().name if name is None else name).removesuffix(MARK))
        folders[names[-1]] = folder
    files: dict[str, list[Path]] = {}
    for each in scores:
        name, file = _named_path(each)
        if not file.is_file():
            raise ValueError(f"--scores: there is no file {file}.")
        files.setdefault((file.stem if name is None else name).removesuffix(MARK), []).append(file)
    twice = [name for name, of_name in files.items() if len({file.stem for file in of_name}) < len(of_name)]
    if twice:
        raise ValueError(f"--scores: two files of {twice[0]!r} have one name, and runs are called after their files.")
    _check_names([*(name.removesuffix(MARK) for name in taken), *names, *files])
    return [
        *(OutsideModel(name + MARK, folder) for name, folder in folders.items()),
        *(OutsideModel(name + MARK, None, tuple(of_name)) for name, of_name in files.items()),
    ]


def _named_path(given: str | Path) -> tuple[str | None, Path]:
    """Return the name before ``=`` and the path after it, or None and the path."""
    before, separator, after = str(given).partition("=")
    # A path that holds a = is one, unless what stands after it is there and the whole is not.
    named = bool(separator) and not os.path.exists(given) and (os.sep not in before or os.path.exists(after))
    return (before, Path(after)) if named else (None, Path(given))


def _check_names(names: Sequence[str]) -> None:
    """Check that names can be those of folders, and tell the models apart on every disk.

    Raises:
        ValueError: one cannot, or two do not.
    """
    first: dict[str, str] = {}
    for name in names:
        problem = name_problem(name)
        if problem:
            raise ValueError(
                f"The model name {name!r} {problem}, and a folder of predictions is called after it: give another, as "
                "in A=FOLDER."
            )
        # Some file systems do not tell these apart.
        key = unicodedata.normalize("NFC", name).casefold()
        if key in first:
            also = "" if first[key] == name else f" and {first[key]!r}, which some disks do not tell apart"
            raise ValueError(f"Two models are called {name!r}{also}: give them names, as in A=FOLDER B=FOLDER.")
        first[key] = name
