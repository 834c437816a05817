"""What every model of a study has in common (data, folders, plans), and what an arm and a study are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_missingmod.choices import PRETRAINERS

DATASET_ID = 502
DATASET = f"Dataset{DATASET_ID:03d}_Phantom"
CONFIGURATION = "2d"
PLANS = "StudyPlans"
FOLD = 0
SIZE = (40, 48, 40)
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
BLOCK = {
    "num_iterations_per_epoch": 150,
    "num_val_iterations_per_epoch": 1,
    "save_every": 1000,
    # nnU-Net's own 0.99 and 0.01 are made for a hundred times as many steps.
    "momentum": 0.9,
    "initial_lr": 0.03,
}
WIDTH, BATCH_SIZE = 8, 8
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        trainer: what follows ``-tr``.
        block: keys of the ``"missingmod"`` block.
        teacher: the arm that teaches, of the same seed.
        dedicated_to: channels, for a network that is trained and used on one subset alone.
        pretrained: the arm of the same seed whose weights nnU-Net's ``-pretrained_weights`` is given.
        step: another training step than the trainer's own, by its name in ``steps``.
        splits: what it is scored on; candidates on the cases that decide, and what is chosen on the others later.
        scored_by_average: whether the weights of its average are scored too, as ``ARM_by_average``, on the cases that
            decide.
        followed: whether it is scored on training and validation cases while it trains, into ``curves``.
        presence: another form of presence conditioning than the package's, by its name in ``presence_forms``.
    """

    trainer: str
    block: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    dedicated_to: tuple[int, ...] | None = None
    pretrained: str | None = None
    step: str | None = None
    presence: str | None = None
    splits: tuple[str, ...] = ("val", "test")
    scored_by_average: bool = False
    followed: bool = False

    @property
    def comes_after(self) -> str | None:
        """The arm that has to be trained before this one."""
        return self.teacher or self.pretrained

    @property
    def segments(self) -> bool:
        """Whether there is anything to score; else its model is only what others start from."""
        return self.trainer not in PRETRAINERS


@dataclass(frozen=True)
class Group:
    """Arms that share a table, and the arm that they are compared with."""

    arms: tuple[str, ...]
    baseline: str


@dataclass(frozen=True, eq=False)
class Study:
    """Which arms a study has, how long they train, and on how many cases.

    Attributes:
        name: of the study, and of what lies in the folders ``runs`` and ``logs``.
        cases: for training and validation.
        first_cases: of those, every fifth of the first so many and all after them serve to choose methods on.
        test_cases: what is reported.
        num_epochs: of an arm that does not say otherwise, 150 steps each.
        suffix: of a file of scores; pandas reads a packed one as it reads the other.
        arms: by name.
        groups: the tables.
        shown: in the figures and in the table of all subsets; the last one against the first group's baseline.
        interval_over_seeds: whether a difference's interval is over trainings and cases, or over cases alone.
    """

    name: str
    cases: int
    first_cases: int
    test_cases: int
    num_epochs: int
    suffix: str
    arms: Mapping[str, Arm]
    groups: Mapping[str, Group]
    shown: tuple[str, ...]
    interval_over_seeds: bool

    @property
    def logs(self) -> Path:
        """What nnU-Net printed."""
        return HERE / "logs" / self.name

    @property
    def runs(self) -> Path:
        """Scores."""
        return HERE / "runs" / self.name

    def scores(self, arm: str, seed: int) -> Path:
        """The file of one training's scores."""
        return self.runs / f"{arm}-{seed}{self.suffix}"

    def curves(self, arm: str, seed: int) -> Path:
        """The file of what one training was scored at while it ran."""
        return HERE / "curves" / self.name / f"{arm}-{seed}{self.suffix}"

    def splits_left(self, arm: str, seed: int) -> list[str]:
        """Return what one training has not been scored on yet."""
        scores = self.scores(arm, seed)
        found = set(pd.read_csv(scores)["split"]) if scores.exists() else set()
        return [split for split in self.arms[arm].splits if split not in found]

    def is_done(self, folder: StudyFolder, arm: str, seed: int) -> bool:
        """Return whether one training is over and, where there is anything to score, scored."""
        if self.arms[arm].followed:
            return self.curves(arm, seed).exists()
        if self.arms[arm].segments:
            return not self.splits_left(arm, seed)
        return folder.checkpoint(arm, seed, self.arms[arm].trainer).exists()

    def validation_cases(self, cases: Sequence[str]) -> list[str]:
        """Return those of the sorted names of all cases that are not trained on."""
        return sorted({*cases[4 : self.first_cases : 5], *cases[self.first_cases :]})


@dataclass(frozen=True)
class StudyFolder:
    """Where a study's data and models lie."""

    root: Path

    @property
    def dataset(self) -> Path:
        """The raw dataset."""
        return self.root / "nnUNet_raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        """The preprocessed dataset."""
        return self.root / "nnUNet_preprocessed" / DATASET

    def results(self, arm: str, seed: int) -> Path:
        """nnUNet_results of one training."""
        return self.root / "results" / f"{arm}-{seed}"

    def model(self, arm: str, seed: int, trainer: str) -> Path:
        """The model folder of one training."""
        return self.results(arm, seed) / DATASET / f"{trainer}__{PLANS}__{CONFIGURATION}"

    def checkpoint(self, arm: str, seed: int, trainer: str) -> Path:
        """The weights at the end of one training."""
        return self.model(arm, seed, trainer) / f"fold_{FOLD}" / "checkpoint_final.pth"

    def set_environment(self, results: Path) -> None:
        """Set nnU-Net's variables; call it before nnunetv2 is imported."""
        results.mkdir(parents=True, exist_ok=True)
        os.environ["nnUNet_raw"] = str(self.root / "nnUNet_raw")  # noqa: SIM112
        os.environ["nnUNet_preprocessed"] = str(self.root / "nnUNet_preprocessed")  # noqa: SIM112
        os.environ["nnUNet_results"] = str(results)  # noqa: SIM112
        os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112  in this process, so that its seeds decide
