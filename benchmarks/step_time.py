"""Time training steps of our trainers against stock nnUNetTrainer's, in turn, in one process.

    python benchmarks/step_time.py [--device cpu] [--pairs 12] [--memory-target 0.12] [--trainers NAME ...]

Stock nnU-Net steps under the plans of its own planner; ours under those, and where it says so under the plans of
MissingModPlanner for the same memory target. Prints a table of ratios to the stock step, as median and quartiles over
pairs; stock against itself tells how far from 1 noise alone comes. The last line is the share of the terms in the
flagship's student step, without its teacher. Exit code 1 if a limit is exceeded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from measuring import Ratio, compare, device_name, device_parser, synchronised
from models import MEMORY_TARGET, dataset_without_images, fresh, make_batch, make_plans, make_trainer

from nnunet_missingmod.training.step import TeacherOutput

STOCK, OWN = "ExperimentPlanner", "MissingModPlanner"


class Arm(NamedTuple):
    """A trainer, the planner of its plans, the largest ratio to the stock step, and choices that are not its own."""

    trainer: str
    planner: str = STOCK
    limit: float | None = None
    block: Mapping[str, Any] = MappingProxyType({})

    @property
    def label(self) -> str:
        """What the table calls it."""
        more = "".join(f", {key} {str(value).lower()}" for key, value in self.block.items())
        return f"`{self.trainer}`{more}"


SELF = "nnUNetTrainerHolderMISelf"
ARMS = (
    Arm("nnUNetTrainer"),
    Arm("nnUNetTrainerZeroFill"),
    Arm("nnUNetTrainerModalityDropout"),
    Arm("nnUNetTrainerMedMAPTeacher"),
    Arm("nnUNetTrainerMedMAP"),
    Arm("nnUNetTrainerHolderMI", limit=1.5),
    Arm(SELF, limit=1.4),
    Arm(SELF, block={"taught_share": 0.5}),
    Arm(SELF, block={"presence_convolutions": False}),
    Arm("nnUNetTrainerM3FeCon", limit=0.85),
    Arm("nnUNetTrainerDeMoSeg"),
    Arm("nnUNetTrainerMMFormer"),
    Arm("nnUNetTrainerACN"),
    Arm("nnUNetTrainerSharedBackbone", OWN, 1.0),
    Arm("nnUNetTrainerHolderMIParallel", OWN, 1.5),
    Arm("nnUNetTrainerRDL", OWN),
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


def stepper(trainer: Any) -> Any:
    batch = make_batch(trainer)
    return synchronised(lambda: trainer.train_step(fresh(batch)), trainer.device)


def measure(
    device: torch.device, *, pairs: int, memory_target_gb: float, trainers: Sequence[str] | None = None
) -> tuple[list[str], bool]:
    """Return the lines of the tables, and whether all limits are kept; of some trainers, or of all."""
    arms = [arm for arm in ARMS if trainers is None or arm.trainer in trainers]
    with dataset_without_images() as preprocessed:
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
        "| trainer | plans | ratio to stock | quartiles | limit |",
        "| --- | --- | --: | --: | --: |",
    ]
    kept = True
    for arm, ratio in zip(arms, ratios.values(), strict=True):
        kept &= arm.limit is None or ratio.median <= arm.limit
        of = "stock" if arm.planner == STOCK else "own"
        lines.append(f"| {arm.label} | {of} | {ratio.cells()} | {'' if arm.limit is None else arm.limit} |")
    if share is not None:
        kept &= share.median - 1 <= LARGEST_SHARE_OF_TERMS
        lines += [
            "",
            f"Terms beside segmentation: {share.median - 1:+.1%} of the student's step "
            f"({share.low - 1:+.1%} to {share.high - 1:+.1%}; limit {LARGEST_SHARE_OF_TERMS:.0%}).",
        ]
    return lines, kept


def _share_of_terms(plans: dict[str, Any], device: torch.device, pairs: int) -> Ratio:
    student = make_trainer(STUDENT, plans, device)
    student.frozen_teacher = RememberedTeacher(student.frozen_teacher)
    alone = {"alignment_anchor": "none", "divergence": "none", "mutual_information": "none"}
    return compare(stepper(make_trainer(STUDENT, plans, device, **alone)), {"terms": stepper(student)}, pairs=pairs)[
        "terms"
    ]


def _described(plans: dict[str, Any]) -> str:
    chosen = plans["configurations"]["3d_fullres"]
    patch = " x ".join(map(str, chosen["patch_size"]))
    widths = ", ".join(map(str, chosen["architecture"]["arch_kwargs"]["features_per_stage"]))
    return f"patch {patch}, batch {chosen['batch_size']}, widths {widths}"


def main() -> int:
    parser = device_parser(__doc__, MEMORY_TARGET, pairs=12)
    parser.add_argument("--trainers", nargs="+", choices=sorted({arm.trainer for arm in ARMS}))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    print(device_name(device), flush=True)
    lines, kept = measure(device, pairs=arguments.pairs, memory_target_gb=target, trainers=arguments.trainers)
    print("\n".join(lines))
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
