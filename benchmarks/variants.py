"""Time choices that the flagship does not make by default: what each costs in a training step and in a patch.

    python benchmarks/variants.py [--device cpu] [--pairs 12] [--memory-target 0.12]

Presence conditioning and a channel encoder of width 2 are compared with the flagship's student, in turn, in one
process, under the plans of nnU-Net's planner. The teacher's variants are compared with its forward pass as it is. RDL's
step as it was before subsets were fused by a matrix product is compared with the step as it is, under the plans of
MissingModPlanner. Prints median and quartiles over pairs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from measuring import Ratio, compare, device_name, device_parser, mixed_precision, synchronised
from models import (
    MEMORY_TARGET,
    compiled_side_by_side,
    dataset_without_images,
    fresh,
    make_batch,
    make_plans,
    make_trainer,
)
from step_memory import OWN, STOCK

from nnunet_missingmod.networks.backbone import unwrapped
from nnunet_missingmod.networks.branches import Pairs
from nnunet_missingmod.networks.fusion import mean_fusion

STUDENT, OBJECTIVE = "nnUNetTrainerHolderMI", "nnUNetTrainerRDL"
CHOICES: dict[str, dict[str, Any]] = {
    "presence conditioning": {"presence_conditioning": True},
    "channel encoder of width 2": {"channel_encoder_width": 2},
}


def measure_choices(plans: dict[str, Any], device: torch.device, pairs: int) -> list[tuple[str, Ratio]]:
    """Return the ratios of each choice's step, and of its prediction of one patch, to the flagship's."""
    trainers = {name: make_trainer(STUDENT, plans, device, **block) for name, block in {"": {}, **CHOICES}.items()}
    steps = {name: _step(trainer) for name, trainer in trainers.items()}
    found = compare(steps.pop(""), steps, pairs=pairs)
    rows = [(f"{name}: a training step", ratio) for name, ratio in found.items()]
    patches = {name: _patch(trainer) for name, trainer in trainers.items()}
    found = compare(patches.pop(""), patches, pairs=pairs)
    return rows + [(f"{name}: a patch", ratio) for name, ratio in found.items()]


def measure_teacher(plans: dict[str, Any], device: torch.device, pairs: int) -> list[tuple[str, Ratio]]:
    """Return the ratios of variants of the teacher's forward pass to the pass as it is."""
    trainer = make_trainer(STUDENT, plans, device)
    teacher = trainer.frozen_teacher
    data = make_batch(trainer)["data"].to(device)
    present = torch.ones(data.shape[:2], dtype=torch.bool)

    def run(call: Callable[..., Any], images: torch.Tensor) -> Callable[[], float]:
        return _forward(lambda: call(images, present), device)

    def inference(images: torch.Tensor, given: torch.Tensor) -> Any:
        with torch.inference_mode():
            return teacher(images, given)

    encoder_alone = copy.copy(teacher)
    encoder_alone.returns_logits = False
    variants = {
        "teacher without its decoder, for terms that need no logits": run(encoder_alone, data),
        "teacher under inference_mode": run(inference, data),
    }
    found = compare(run(teacher, data), variants, pairs=pairs)
    trainer = make_trainer(STUDENT, plans, device)
    trainer.frozen_teacher._network.to(memory_format=torch.channels_last_3d)
    last = run(trainer.frozen_teacher, data.to(memory_format=torch.channels_last_3d))
    found |= compare(run(teacher, data), {"teacher in channels_last_3d": last}, pairs=pairs)
    return list(found.items())


def measure_fusion(plans: dict[str, Any], device: torch.device, pairs: int) -> list[tuple[str, Ratio]]:
    """Return the ratio of RDL's step, with subsets fused from copies (B, J, ...) of branches, to the step as it is."""
    trainer = make_trainer(OBJECTIVE, plans, device)
    step = _step(trainer)

    def copying() -> float:
        with patch.object(Pairs, "mean", lambda pairs, rows, kept: mean_fusion(pairs.scatter(rows), kept)):
            return step()

    return list(
        compare(step, {"subsets fused from copies of the branches: a step of RDL": copying}, pairs=pairs).items()
    )


def _step(trainer: Any) -> Callable[[], float]:
    batch = make_batch(trainer)
    return synchronised(lambda: trainer.train_step(fresh(batch)), trainer.device)


def _patch(trainer: Any) -> Callable[[], float]:
    network = copy.deepcopy(unwrapped(trainer.network)).eval()  # nnU-Net's prediction is not compiled
    network.decoder.deep_supervision = False
    patch = make_batch(trainer)["data"][:1].to(trainer.device)

    return _forward(torch.inference_mode()(lambda: network(patch)), trainer.device)


def _forward(call: Callable[[], Any], device: torch.device) -> Callable[[], float]:
    """Return what runs a forward pass in nnU-Net's precision, and returns its seconds."""

    def run() -> None:
        with mixed_precision(device):
            call()

    return synchronised(run, device)


def main() -> None:
    arguments = device_parser(__doc__, MEMORY_TARGET, pairs=12).parse_args()
    device = torch.device(arguments.device)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    print(f"{device_name(device)}, target {target} GB, {arguments.pairs} pairs\n")
    print("| variant | time / time without | quartiles |\n| --- | --: | --: |")
    with dataset_without_images() as preprocessed, compiled_side_by_side():
        stock, own = (make_plans(name, preprocessed, memory_target_gb=target) for name in (STOCK, OWN))
        for measure, plans in ((measure_choices, stock), (measure_teacher, stock), (measure_fusion, own)):
            for name, ratio in measure(plans, device, arguments.pairs):
                print(f"| {name} | {ratio.cells()} |", flush=True)


if __name__ == "__main__":
    main()
