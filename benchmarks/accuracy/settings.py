"""What every model of a study has in common, and what an arm, a table and a study are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_missingmod.choices import PRETRAINERS

PLANS = "StudyPlans"
HERE = Path(__file__).parent
EPOCH_STEPS = 150
# Steps of an epoch of the trainings on phantoms whose scores are documented, by configuration.
DOCUMENTED_EPOCH_STEPS = {"2d": EPOCH_STEPS, "3d_fullres": 50}
BLOCK = {
    "num_iterations_per_epoch": EPOCH_STEPS,
    "num_val_iterations_per_epoch": 1,
    "save_every": 1000,
    # nnU-Net's own 0.99 and 0.01 are made for a hundred times as many steps.
    "momentum": 0.9,
    "initial_lr": 0.03,
}
# Beside an arm, the scores of its average; and one network for every subset.
BY_AVERAGE = "_by_average"
DEDICATED = "dedicated"


def steps_of_epoch(count: int, epoch_steps: int) -> int:
    """Return an arm's steps of an epoch, ``count`` where an epoch has 150, in a study whose epochs have so many."""
    return count * epoch_steps // EPOCH_STEPS


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        trainer: what follows ``-tr``.
        block: keys of the ``"missingmod"`` block.
        teacher: the arm that teaches, of the same seed.
        dedicated_to: channels, for a network that is trained and used on one subset alone.
        pretrained: the arm of the same seed whose weights nnU-Net's ``-pretrained_weights`` is given: of a pretraining
            those of its encoder.
        pretrained_whole: the decoder's, too.
        step: another training step than the trainer's own, by its name in ``steps``.
        splits: what it is scored on; candidates on the cases that decide, and what is chosen on the others later.
        scored_by_average: whether the weights of its average are scored too, as ``ARM_by_average``, on the cases that
            decide.
        plan: entries of the plans' configuration in place of the study's, and of its network's arguments.
        followed: whether it is scored on training and validation cases while it trains, into ``curves``.
        presence: another form of presence conditioning than the package's, by its name in ``presence_forms``.
    """

    trainer: str
    block: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    dedicated_to: tuple[int, ...] | None = None
    pretrained: str | None = None
    pretrained_whole: bool = False
    step: str | None = None
    presence: str | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
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
    """Which arms a study has and how long they train; and of its phantoms, how many there are.

    Attributes:
        name: of the study.
        cases: phantoms for training and validation.
        first_cases: of those, every fifth of the first so many and all after them serve to choose methods on.
        test_cases: what is reported.
        num_epochs: of an arm that does not say otherwise.
        suffix: of a file of scores; pandas reads a packed one as it reads the other.
        arms: by name. A network for one subset alone, ``dedicated_0_2`` for channels 0 and 2, is there beside them.
        groups: the tables.
        shown: in the figures and in the table of all subsets; the last one against the first group's baseline.
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

    def arm(self, name: str) -> Arm:
        """Return the arm of a name.

        Raises:
            KeyError: there is none.
        """
        word, *channels = name.split("_")
        if word == DEDICATED and channels and all(map(str.isdecimal, channels)):
            return Arm("nnUNetTrainerZeroFill", dedicated_to=tuple(map(int, channels)))
        return self.arms[name]

    def total_steps(self, name: str, epoch_steps: int = EPOCH_STEPS) -> int:
        """Return an arm's training steps, those of its teacher and of its pretraining included."""
        arm = self.arm(name.removesuffix(BY_AVERAGE))
        epochs = int(arm.block.get("num_epochs", self.num_epochs))
        steps = epochs * steps_of_epoch(arm.block.get("num_iterations_per_epoch", EPOCH_STEPS), epoch_steps)
        return steps + (0 if arm.comes_after is None else self.total_steps(arm.comes_after, epoch_steps))

    def documented_runs(self, configuration: str) -> str:
        """Return the folder of documented scores beside the scripts, of trainings on phantoms."""
        return self.name if configuration == "2d" else f"{self.name}_{configuration}"

    def validation_cases(self, cases: Sequence[str]) -> list[str]:
        """Return those of the sorted names of all phantoms that are not trained on."""
        return sorted({*cases[4 : self.first_cases : 5], *cases[self.first_cases :]})
