"""A study's folder: what data it was prepared from, and where its models and scores lie."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from score_files import read_scores
from settings import (
    BY_AVERAGE,
    DEDICATED,
    DOCUMENTED_EPOCH_STEPS,
    EPOCH_STEPS,
    HERE,
    PLANS,
    Study,
    steps_of_epoch,
)

from nnunet_missingmod.modalities import Subset, all_subsets, by_size, choose_subsets
from nnunet_missingmod.storage import write_text

DESCRIPTION = "study.json"
ASKED = "prepared.json"
# Of more modalities each alone, all but each, and all are scored.
MOST_MODALITIES_OF_EVERY_SUBSET = 8


@dataclass(frozen=True)
class Data:
    """What a study is run on, as ``prepare`` writes it into the folder.

    Attributes:
        dataset: nnU-Net's name.
        configuration: ``2d`` or ``3d_fullres``.
        runs: the folder of documented scores beside the scripts, of phantoms; None of other data.
        folds: number of splits, each with its own validation cases.
        modalities: in channel order.
        regions: labels of each region that is scored.
        ignore_label: of voxels that are not scored.
        patients: the patient of each case; a case that has none is its own.
        epoch_steps: training steps of an epoch, of every arm that does not say otherwise.
    """

    dataset: str
    configuration: str
    runs: str | None
    folds: int
    modalities: tuple[str, ...]
    regions: Mapping[str, Sequence[int]]
    ignore_label: int | None
    patients: Mapping[str, str]
    epoch_steps: int = EPOCH_STEPS

    @property
    def subsets(self) -> list[Subset]:
        """What a model is scored on."""
        if len(self.modalities) <= MOST_MODALITIES_OF_EVERY_SUBSET:
            return all_subsets(len(self.modalities))
        return by_size(choose_subsets(("alone", "leave-one-out", "full"), self.modalities))


def _shown(value: Any) -> str:
    return "not given" if value is None else f"{len(value)} of a file" if isinstance(value, list) else str(value)


@dataclass(frozen=True)
class Training:
    """One arm with one seed on one fold."""

    arm: str
    seed: int
    fold: int = 0


@dataclass(frozen=True)
class StudyFolder:
    """Where a study's data, models and scores lie."""

    study: Study
    root: Path

    @property
    def is_prepared(self) -> bool:
        """Whether ``prepare`` is done with it."""
        return (self.root / DESCRIPTION).is_file()

    @cached_property
    def data(self) -> Data:
        """What the folder was prepared from.

        Raises:
            FileNotFoundError: it has not been prepared.
        """
        file = self.root / DESCRIPTION
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not there: run study.py prepare {self.study.name} {self.root} first.")
        content = json.loads(file.read_text(encoding="utf-8"))
        return Data(**content | {"modalities": tuple(content["modalities"])})

    def claim(self, asked: Mapping[str, Any]) -> None:
        """Write down what ``prepare`` is asked for, before it makes anything of it.

        Raises:
            ValueError: the folder holds what was made for something else, whose scores would be mixed with these.
        """
        file = self.root / ASKED
        if file.is_file():
            before = self.json(file)
            differs = [key for key in {**before, **asked} if before.get(key) != json.loads(json.dumps(asked.get(key)))]
            if differs:
                said = "; ".join(f"{key}: {_shown(before.get(key))}, now {_shown(asked.get(key))}" for key in differs)
                raise ValueError(f"{self.root} was prepared with other settings ({said}). Use another folder.")
        self.root.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(asked, indent=2) + "\n")

    def describe(self, data: Data) -> None:
        """Write down what the folder was prepared from: the last step of ``prepare``."""
        write_text(self.root / DESCRIPTION, json.dumps(asdict(data), indent=2) + "\n")

    @property
    def raw(self) -> Path:
        """The raw dataset."""
        return self.root / "nnUNet_raw" / self.data.dataset

    @property
    def preprocessed(self) -> Path:
        """The preprocessed dataset."""
        return self.root / "nnUNet_preprocessed" / self.data.dataset

    @property
    def scored(self) -> Path:
        """The preprocessed cases that models are scored on."""
        return self.root / "scored"

    def splits(self) -> list[dict[str, list[str]]]:
        """Return the cases of each fold, as nnU-Net keeps them."""
        found: list[dict[str, list[str]]] = self.json(self.preprocessed / "splits_final.json")
        return found

    @staticmethod
    def json(file: Path) -> Any:
        """Return what a JSON file holds."""
        return json.loads(file.read_text(encoding="utf-8"))

    def steps(self, count: int) -> int:
        """Return how many steps there are here where an arm has so many in epochs of 150."""
        return steps_of_epoch(count, self.data.epoch_steps)

    def total_steps(self, arm: str) -> int:
        """Return an arm's training steps, those of its teacher and of its pretraining included."""
        return self.study.total_steps(arm, self.data.epoch_steps)

    def results(self, training: Training) -> Path:
        """nnUNet_results of one training."""
        return self.root / "results" / self._name(training)

    def model(self, training: Training) -> Path:
        """The model folder of one training."""
        trainer = self.study.arm(training.arm).trainer
        name = f"{trainer}__{PLANS}__{self.data.configuration}"
        return self.results(training) / self.data.dataset / name

    def checkpoint(self, training: Training) -> Path:
        """The weights at the end of one training."""
        return self.model(training) / f"fold_{training.fold}" / "checkpoint_final.pth"

    def scores(self, training: Training) -> Path:
        """The file of one training's scores."""
        return self.runs / f"{self._name(training)}{self.study.suffix}"

    def curves(self, training: Training) -> Path:
        """The file of what one training was scored at while it ran."""
        return self._folder("curves") / f"{self._name(training)}{self.study.suffix}"

    def log(self, training: Training) -> Path:
        """What nnU-Net printed."""
        return self._folder("logs") / f"{self._name(training)}.txt"

    @property
    def runs(self) -> Path:
        """The folder of scores."""
        return self._folder("runs")

    def _name(self, training: Training) -> str:
        fold = "" if self.data.folds == 1 else f"-fold{training.fold}"
        return f"{training.arm}-{training.seed}{fold}"

    def _folder(self, kind: str) -> Path:
        """Return a folder beside the scripts for phantoms in epochs as documented, else in the study's folder."""
        data = self.data
        is_documented = data.runs is not None and data.epoch_steps == DOCUMENTED_EPOCH_STEPS[data.configuration]
        folder = HERE / kind / str(data.runs) if is_documented else self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def splits_left(self, training: Training) -> list[str]:
        """Return what one training has not been scored on yet.

        A network for one subset is scored on everything at once, and has no row of a split without a case to give it.
        """
        arm, scores = self.study.arm(training.arm), self.scores(training)
        if arm.dedicated_to is not None and scores.exists():
            return []
        found = set(read_scores(scores)["split"]) if scores.exists() else set()
        there = {"val"} | {"test" for _ in self.scored.glob("*.test.npz")}
        return [split for split in arm.splits if split in there - found]

    def is_done(self, training: Training) -> bool:
        """Return whether one training is over and, where there is anything to score, scored."""
        arm = self.study.arm(training.arm)
        if arm.followed:
            return self.curves(training).exists()
        if arm.segments:
            return self.scores(training).exists() and not self.splits_left(training)
        return self.checkpoint(training).exists()

    def expand(self, names: Sequence[str]) -> list[str]:
        """Return names of arms, with the word ``dedicated`` replaced by a network for each subset.

        ``ARM_by_average`` is made by the training of ARM.

        Raises:
            ValueError: there is no such arm, or a dedicated one's channels are none of the data's.
        """
        subsets = [f"{DEDICATED}_{'_'.join(map(str, subset))}" for subset in self.data.subsets]
        names = [name.removesuffix(BY_AVERAGE) for name in names]
        found = list(chain.from_iterable(subsets if name == DEDICATED else [name] for name in names))
        for name in dict.fromkeys(found):
            try:
                arm = self.study.arm(name)
            except KeyError:
                raise ValueError(
                    f"{self.study.name} has no arm {name!r}; its arms: {', '.join(self.study.arms)}."
                ) from None
            if arm.dedicated_to and max(arm.dedicated_to) >= len(self.data.modalities):
                raise ValueError(f"{name}: the data have {len(self.data.modalities)} modalities.")
        return list(dict.fromkeys(found))

    def set_environment(self, results: Path) -> None:
        """Set nnU-Net's variables; call it before nnunetv2 is imported."""
        results.mkdir(parents=True, exist_ok=True)
        os.environ["nnUNet_raw"] = str(self.root / "nnUNet_raw")  # noqa: SIM112
        os.environ["nnUNet_preprocessed"] = str(self.root / "nnUNet_preprocessed")  # noqa: SIM112
        os.environ["nnUNet_results"] = str(results)  # noqa: SIM112
        os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112  in this process, so that its seeds decide
