"""Time the prediction of a case by each network, against stock nnU-Net's network, with all modalities and with fewer.

    python benchmarks/prediction_time.py [--device cpu] [--pairs 5] [--memory-target 1.0] [--size 70 85 68]
        [--networks early slim ...]

nnU-Net's own sliding window goes over one image. Stock and early networks have the plans of nnU-Net's planner, parallel
ones those of MissingModPlanner for the same memory target. Prints ratios to the stock network on the same image with
all modalities, as median and quartiles over pairs, beside what we want and what machines of docs/performance.md kept.
Each network is measured in turn with stock's and its row printed before the next begins; stock's own row, which shows
the size of the noise, comes first. On a CPU the exit code is 1 if a limit is exceeded. Networks are not compiled, as in
nnU-Net's prediction.

How often windows overlap depends on the image and on both networks' patches, and the ratios with it. So the image is
the brain that the plans are made for; with a memory target below nnU-Net's 8 GB it is as much smaller as the patches.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from measuring import cell, compare, device_name, device_parser, exit_code, in_rounds, ratio, synchronised
from models import (
    IMAGE_SIZE,
    NUM_MODALITIES,
    dataset_json,
    dataset_without_images,
    make_plans,
    make_trainer,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod.networks.backbone import unwrapped

# GB. On a CPU larger than what a training step is timed with, so that the patches divide the image as nnU-Net's do; use
# two threads or more: with one, torch computes single small feature maps by a slow path.
HOST_TARGET = 8.0
MEMORY_TARGET = {"cuda": HOST_TARGET, "cpu": 1.0}
STOCK, OWN = "ExperimentPlanner", "MissingModPlanner"
SHARED = {"channel_encoder": "shared"}


class Arm(NamedTuple):
    """A network: its trainer, the planner of its plans, its "missingmod" block, and ratios of its times.

    Attributes:
        wanted: the ratio to stock that we want at most, with all modalities.
        limit: the ratio that machines of docs/performance.md kept, with a margin for others.
        one_wanted, one_limit: the same of one modality of four against all four.
    """

    trainer: str
    planner: str
    block: Mapping[str, Any] = MappingProxyType({})
    wanted: float | None = None
    limit: float | None = None
    one_wanted: float | None = None
    one_limit: float | None = None


ARMS = {
    "stock": Arm("nnUNetTrainer", STOCK),
    "early": Arm("nnUNetTrainerMedMAP", STOCK, wanted=1.03, limit=1.15),
    "early, conditioned": Arm("nnUNetTrainerHolderMISelf", STOCK, wanted=1.03, limit=1.15),
    "slim": Arm("nnUNetTrainerM3FeCon", STOCK, wanted=0.85, limit=1.0, one_wanted=0.75, one_limit=0.85),
    "separate": Arm("nnUNetTrainerMMFormer", STOCK),
    "parallel, logits": Arm(
        "nnUNetTrainerSharedBackbone", OWN, SHARED, wanted=1.2, limit=1.2, one_wanted=0.3, one_limit=0.3
    ),
    "parallel, features, mean": Arm(
        "nnUNetTrainerSharedBackbone", OWN, {**SHARED, "fused_at": "features"}, wanted=1.2, limit=1.2
    ),
    "parallel, features, attention": Arm(
        "nnUNetTrainerSharedBackbone",
        OWN,
        {**SHARED, "fused_at": "features", "feature_fusion": "attention"},
        wanted=1.2,
        limit=1.2,
    ),
}


def make_predictor(arm: Arm, plans: dict[str, Any], device: torch.device) -> nnUNetPredictor:
    """Return nnU-Net's predictor with an untrained network, as nnU-Net's commands predict: it is not compiled."""
    trainer = make_trainer(arm.trainer, plans, device, **arm.block)
    trainer.set_deep_supervision_enabled(False)
    network = unwrapped(trainer.network).eval()
    with contextlib.redirect_stdout(io.StringIO()):  # it says that a CPU is no GPU, in the middle of our table
        predictor = nnUNetPredictor(
            use_mirroring=device.type
            == "cuda",  # on a CPU, its eight passes would tell the same in eight times the time
            perform_everything_on_device=device.type == "cuda",
            device=device,
            allow_tqdm=False,
        )
    predictor.manual_initialization(
        network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        dataset_json(),
        arm.trainer,
        tuple(range(len(trainer.configuration_manager.patch_size))),  # the trainer's own are known once it has data
    )
    return predictor


def scaled_image(memory_target_gb: float) -> list[int]:
    """Return the brain's size, scaled as the side of a patch is between nnU-Net's memory target and this one."""
    return [round(length * (memory_target_gb / HOST_TARGET) ** (1 / 3)) for length in IMAGE_SIZE]


def measure(
    device: torch.device, *, pairs: int, memory_target_gb: float, size: list[int], networks: Sequence[str] = tuple(ARMS)
) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the table as they are known, each with whether its limits are kept."""
    torch.manual_seed(0)
    complete = torch.randn(NUM_MODALITIES, *size)
    one = complete.clone()
    one[1:] = float("nan")

    def run(predictor: nnUNetPredictor, image: torch.Tensor) -> Callable[[], float]:
        return synchronised(lambda: predictor.predict_sliding_window_return_logits(image.clone()), device)

    with dataset_without_images() as preprocessed:
        plans = {kind: make_plans(kind, preprocessed, memory_target_gb=memory_target_gb) for kind in (STOCK, OWN)}
        stock = run(make_predictor(ARMS["stock"], plans[STOCK], device), complete)
        noise = compare(stock, {"stock": stock}, pairs=pairs)["stock"]
        image, limits = " x ".join(map(str, size)), "quartiles | wanted | at most"
        yield f"Image {image}, target {memory_target_gb} GB, {pairs} pairs, stock {noise.reference:.2f} s.\n", True
        yield f"| network | all / stock | {limits} | 1 of 4 / all | {limits} |", True
        yield "| --- | --: | --: | --: | --: | --: | --: | --: | --: |", True
        yield f"| stock | {noise.cells()} | | | | | | |", True
        for name in (name for name in ARMS if name != "stock" and name in networks):
            arm = ARMS[name]
            predictor = make_predictor(arm, plans[arm.planner], device)
            runs = {"all": run(predictor, complete), "1 of 4": run(predictor, one)}
            for first in runs.values():
                first()  # allocates; stock's has
            rounds = in_rounds({"stock": stock, **runs}, number=pairs, warmup=0)
            full, alone = ratio(rounds, "all", "stock"), ratio(rounds, "1 of 4", "all")
            kept = arm.limit is None or full.median <= arm.limit
            kept &= arm.one_limit is None or alone.median <= arm.one_limit
            yield (
                f"| {name} | {full.cells()} | {cell(arm.wanted)} | {cell(arm.limit)} "
                f"| {alone.cells()} | {cell(arm.one_wanted)} | {cell(arm.one_limit)} |",
                kept,
            )


def main() -> int:
    parser = device_parser(__doc__, MEMORY_TARGET, pairs=5)
    parser.add_argument("--size", type=int, nargs=3, help="voxels of the image along each axis")
    parser.add_argument("--networks", nargs="+", choices=[name for name in ARMS if name != "stock"], default=list(ARMS))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print(device_name(device), flush=True)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    good = True
    for line, kept in measure(
        device,
        pairs=arguments.pairs,
        memory_target_gb=target,
        size=arguments.size or scaled_image(target),
        networks=arguments.networks,
    ):
        print(line, flush=True)
        good &= kept
    return exit_code(good, device)


if __name__ == "__main__":
    sys.exit(main())
