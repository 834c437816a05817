"""Time training steps of our trainers against stock nnUNetTrainer's, in turn, in one process.

    python benchmarks/step_time.py [--device cpu] [--pairs 12] [--memory-target 0.12] [--trainers NAME ...]
    python benchmarks/step_time.py --parts [--device cpu] [--pairs 12] [--memory-target 0.3]

Stock nnU-Net steps under the plans of its own planner; ours under those, and where it says so under the plans of
MissingModPlanner for the same memory target. Prints a table of ratios to the stock step, as median and quartiles over
pairs, beside what we want and what machines of docs/performance.md kept; stock against itself tells how far from 1
noise alone comes. The last line is the share of the terms in the flagship's student step, without its teacher. On a CPU
the exit code is 1 if a limit is exceeded. ``--parts`` tells where the recommended trainer's additional time goes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from measuring import Ratio, cell, compare, device_name, device_parser, exit_code, synchronised
from models import (
    MEMORY_TARGET,
    compiled_side_by_side,
    dataset_without_images,
    fresh,
    make_batch,
    make_plans,
    make_trainer,
)

from nnunet_missingmod.training.step import TeacherOutput

STOCK, OWN = "ExperimentPlanner", "MissingModPlanner"


class Arm(NamedTuple):
    """A trainer, the planner of its plans, ratios to the stock step, and choices that are not the trainer's own.

    Attributes:
        wanted: the ratio that we want at most.
        limit: the ratio that machines of docs/performance.md kept, with a margin for others.
    """

    trainer: str
    planner: str = STOCK
    wanted: float | None = None
    limit: float | None = None
    block: Mapping[str, Any] = MappingProxyType({})

    @property
    def label(self) -> str:
        """What the table calls it."""
        more = "".join(f", {key} {str(value).lower()}" for key, value in self.block.items())
        return f"`{self.trainer}`{more}"


SELF = "nnUNetTrainerHolderMISelf"
WITHOUT_PRESENCE = {"presence_convolutions": False}
ARMS = (
    Arm("nnUNetTrainer"),
    Arm("nnUNetTrainerZeroFill"),
    Arm("nnUNetTrainerModalityDropout"),
    Arm("nnUNetTrainerMedMAPTeacher"),
    Arm("nnUNetTrainerMedMAP"),
    Arm("nnUNetTrainerHolderMI", wanted=1.4, limit=1.5),
    Arm(SELF, wanted=1.4, limit=1.65),
    Arm(SELF, block={"taught_share": 0.5}),
    Arm(SELF, block=WITHOUT_PRESENCE),
    Arm("nnUNetTrainerM3FeCon", wanted=0.85, limit=1.0),
    Arm("nnUNetTrainerDeMoSeg"),
    Arm("nnUNetTrainerMMFormer"),
    Arm("nnUNetTrainerACN"),
    Arm("nnUNetTrainerSharedBackbone", OWN, wanted=1.0, limit=1.0),
    Arm("nnUNetTrainerHolderMIParallel", OWN, wanted=1.4, limit=1.4),
    Arm("nnUNetTrainerRDL", OWN, wanted=1.0, limit=1.2),
)
STUDENT = "nnUNetTrainerHolderMI"
LARGEST_SHARE_OF_TERMS = 0.15


class RememberedTeacher:
    """Says what the teacher said of the first batch, at no cost."""

    def __init__(self, teacher: Any) -> None:
        self.teacher = teacher
        self.said: TeacherOutput | None = None
        self.counts = teacher.counts

    def __call__(
        self, data: torch.Tensor, present: torch.Tensor, samples: Sequence[int] | None = None
    ) -> TeacherOutput:
        if self.said is None:
            self.said = self.teacher(data, present)
        return self.said


def without_teachers_time(name: str, plans: dict[str, Any], device: torch.device, **block: Any) -> Any:
    """Return a trainer whose teacher takes no time."""
    trainer: Any = make_trainer(name, plans, device, **block)
    trainer.frozen_teacher = RememberedTeacher(trainer.frozen_teacher)
    return trainer


def stepper(trainer: Any) -> Any:
    batch = make_batch(trainer)
    return synchronised(lambda: trainer.train_step(fresh(batch)), trainer.device)


def measure(
    device: torch.device, *, pairs: int, memory_target_gb: float, trainers: Sequence[str] | None = None
) -> tuple[list[str], bool]:
    """Return the lines of the tables, and whether all limits are kept; of some trainers, or of all."""
    arms = [arm for arm in ARMS if trainers is None or arm.trainer in trainers]
    with dataset_without_images() as preprocessed, compiled_side_by_side():
        plans = {kind: make_plans(kind, preprocessed, memory_target_gb=memory_target_gb) for kind in (STOCK, OWN)}
        steps = [stepper(make_trainer(arm.trainer, plans[arm.planner], device, **arm.block)) for arm in arms]
        stock = stepper(make_trainer("nnUNetTrainer", plans[STOCK], device))
        ratios = compare(stock, {str(number): run for number, run in enumerate(steps)}, pairs=pairs)
        del steps
        share = _share_of_terms(plans[STOCK], device, pairs) if STUDENT in {arm.trainer for arm in arms} else None
    lines = [
        f"Stock plans: {_described(plans[STOCK])}. Own plans: {_described(plans[OWN])}. Target {memory_target_gb} GB, "
        f"{pairs} pairs, stock step {next(iter(ratios.values())).reference:.2f} s.",
        "",
        "| trainer | plans | ratio to stock | quartiles | wanted | at most |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    kept = True
    for arm, ratio in zip(arms, ratios.values(), strict=True):
        kept &= arm.limit is None or ratio.median <= arm.limit
        of = "stock" if arm.planner == STOCK else "own"
        lines.append(f"| {arm.label} | {of} | {ratio.cells()} | {cell(arm.wanted)} | {cell(arm.limit)} |")
    if share is not None:
        kept &= share.median - 1 <= LARGEST_SHARE_OF_TERMS
        lines += [
            "",
            f"Terms beside segmentation: {share.median - 1:+.1%} of the student's step "
            f"({share.low - 1:+.1%} to {share.high - 1:+.1%}; at most {LARGEST_SHARE_OF_TERMS:.0%}).",
        ]
    return lines, kept


def _share_of_terms(plans: dict[str, Any], device: torch.device, pairs: int) -> Ratio:
    alone = {"alignment_anchor": "none", "divergence": "none", "mutual_information": "none"}
    student = stepper(without_teachers_time(STUDENT, plans, device))
    return compare(stepper(make_trainer(STUDENT, plans, device, **alone)), {"terms": student}, pairs=pairs)["terms"]


def measure_parts(device: torch.device, *, pairs: int, memory_target_gb: float) -> list[str]:
    """Return the lines of a table of what the recommended trainer's step takes beyond stock's, part by part.

    Each part is the difference between the steps with it and without, measured in turn.
    """
    with dataset_without_images() as preprocessed, compiled_side_by_side():
        plans = make_plans(STOCK, preprocessed, memory_target_gb=memory_target_gb)
        steps = {
            "whole": stepper(make_trainer(SELF, plans, device)),
            "taught": stepper(without_teachers_time(SELF, plans, device)),
            "alone": stepper(without_teachers_time(SELF, plans, device, **WITHOUT_PRESENCE)),
        }
        ratios = compare(stepper(make_trainer("nnUNetTrainer", plans, device)), steps, pairs=pairs)
    whole, taught, alone = (ratios[name].median for name in ("whole", "taught", "alone"))
    parts = {
        f"all that `{SELF}` takes beyond stock's step": whole - 1,
        "the teacher's forward pass": whole - taught,
        "kernels that depend on what is absent, forward and backward": taught - alone,
        "losses, norms and the average's update": alone - 1,
    }
    return [
        f"{_described(plans)}, {pairs} pairs, stock step {ratios['whole'].reference:.2f} s.",
        "",
        "| part | of a stock step |",
        "| --- | --: |",
        *(f"| {name} | {share:.2f} |" for name, share in parts.items()),
    ]


def _described(plans: dict[str, Any]) -> str:
    chosen = plans["configurations"]["3d_fullres"]
    patch = " x ".join(map(str, chosen["patch_size"]))
    widths = ", ".join(map(str, chosen["architecture"]["arch_kwargs"]["features_per_stage"]))
    return f"patch {patch}, batch {chosen['batch_size']}, widths {widths}"


def main() -> int:
    parser = device_parser(__doc__, MEMORY_TARGET, pairs=12)
    parser.add_argument("--trainers", nargs="+", choices=sorted({arm.trainer for arm in ARMS}))
    parser.add_argument("--parts", action="store_true", help=f"of what a step of {SELF} takes beyond stock's, instead")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    print(device_name(device), flush=True)
    if arguments.parts:
        print("\n".join(measure_parts(device, pairs=arguments.pairs, memory_target_gb=target)))
        return 0
    lines, kept = measure(device, pairs=arguments.pairs, memory_target_gb=target, trainers=arguments.trainers)
    print("\n".join(lines))
    return exit_code(kept, device)


if __name__ == "__main__":
    sys.exit(main())
