"""Time the prediction of a case by each network, against stock nnU-Net's network, with all modalities and with fewer.

    python benchmarks/prediction_time.py [--device cpu] [--pairs 3] [--memory-target 1.0] [--size 70 85 68]

nnU-Net's own sliding window goes over one image. Stock and early networks have the plans of nnU-Net's planner, parallel
ones those of MissingModPlanner for the same memory target. Prints ratios to the stock network on the same image with
all modalities, as median and quartiles over pairs. Exit code 1 if a limit is exceeded.

How often windows overlap depends on the image and on both networks' patches, and the ratios with it. So the image is
the brain that the plans are made for; with a memory target below nnU-Net's 8 GB it is as much smaller as the patches.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from measuring import Ratio, compare, device_name, device_parser, synchronised
from models import (
    IMAGE_SIZE,
    NUM_MODALITIES,
    dataset_json,
    dataset_without_images,
    make_plans,
    make_trainer,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

# GB. On a CPU larger than what a training step is timed with, so that the patches divide the image as nnU-Net's do; use
# two threads or more: with one, torch computes single small feature maps by a slow path.
HOST_TARGET = 8.0
MEMORY_TARGET = {"cuda": HOST_TARGET, "cpu": 1.0}
STOCK, OWN = "ExperimentPlanner", "MissingModPlanner"
SHARED = {"channel_encoder": "shared"}
# name: (trainer, planner, "missingmod" block, largest ratio to stock with all modalities)
ARMS: dict[str, tuple[str, str, dict[str, Any], float | None]] = {
    "stock": ("nnUNetTrainer", STOCK, {}, None),
    "early": ("nnUNetTrainerMedMAP", STOCK, {}, 1.05),
    "early, conditioned": ("nnUNetTrainerHolderMISelf", STOCK, {}, 1.05),
    "slim": ("nnUNetTrainerM3FeCon", STOCK, {}, 0.85),
    "separate": ("nnUNetTrainerMMFormer", STOCK, {}, None),
    "parallel, logits": ("nnUNetTrainerSharedBackbone", OWN, SHARED, 1.2),
    "parallel, features, mean": ("nnUNetTrainerSharedBackbone", OWN, {**SHARED, "fused_at": "features"}, 1.2),
    "parallel, features, attention": (
        "nnUNetTrainerSharedBackbone",
        OWN,
        {**SHARED, "fused_at": "features", "feature_fusion": "attention"},
        1.2,
    ),
}
# Of the parallel network fused at its logits: one of four modalities against all four.
LARGEST_RATIO_OF_ONE = 0.4


def make_predictor(name: str, preprocessed: Any, device: torch.device, target: float) -> nnUNetPredictor:
    """Return nnU-Net's predictor with an untrained network."""
    trainer_name, planner, block, _ = ARMS[name]
    trainer = make_trainer(trainer_name, make_plans(planner, preprocessed, memory_target_gb=target), device, **block)
    trainer.set_deep_supervision_enabled(False)
    predictor = nnUNetPredictor(
        use_mirroring=device.type == "cuda",  # on a CPU, its eight passes would tell the same in eight times the time
        perform_everything_on_device=device.type == "cuda",
        device=device,
        allow_tqdm=False,
    )
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        dataset_json(),
        trainer_name,
        trainer.inference_allowed_mirroring_axes,
    )
    trainer.network.eval()
    return predictor


def scaled_image(memory_target_gb: float) -> list[int]:
    """Return the brain's size, scaled as the side of a patch is between nnU-Net's memory target and this one."""
    return [round(length * (memory_target_gb / HOST_TARGET) ** (1 / 3)) for length in IMAGE_SIZE]


def measure(device: torch.device, *, pairs: int, memory_target_gb: float, size: list[int]) -> tuple[list[str], bool]:
    """Return the lines of the tables, and whether all limits are kept."""
    torch.manual_seed(0)
    complete = torch.randn(NUM_MODALITIES, *size)
    one = complete.clone()
    one[1:] = float("nan")
    with dataset_without_images() as preprocessed:
        predictors = {name: make_predictor(name, preprocessed, device, memory_target_gb) for name in ARMS}

    def run(name: str, image: torch.Tensor) -> Any:
        predict = predictors[name].predict_sliding_window_return_logits
        return synchronised(lambda: predict(image.clone()), device)

    full = compare(run("stock", complete), {name: run(name, complete) for name in ARMS}, pairs=pairs)
    alone = {
        name: compare(run(name, complete), {name: run(name, one)}, pairs=pairs)[name]
        for name in ARMS
        if name != "stock"
    }
    image = " x ".join(map(str, size))
    lines = [
        f"Image {image}, target {memory_target_gb} GB, {pairs} pairs, stock {full['stock'].reference:.2f} s.",
        "",
        "| network | all / stock | quartiles | limit | 1 of 4 / all | quartiles | limit |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    kept = True
    for name, (_, _, _, limit) in ARMS.items():
        ratio: Ratio = full[name]
        kept &= limit is None or ratio.median <= limit
        limit_of_one = LARGEST_RATIO_OF_ONE if name == "parallel, logits" else None
        kept &= limit_of_one is None or alone[name].median <= limit_of_one
        of_one = f"{alone[name].cells()} | {_cell(limit_of_one)}" if name in alone else " | | "
        lines.append(f"| {name} | {ratio.cells()} | {_cell(limit)} | {of_one} |")
    return lines, kept


def _cell(limit: float | None) -> str:
    return "" if limit is None else str(limit)


def main() -> int:
    parser = device_parser(__doc__, MEMORY_TARGET, pairs=3)
    parser.add_argument("--size", type=int, nargs=3, help="voxels of the image along each axis")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print(device_name(device), flush=True)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    lines, kept = measure(
        device, pairs=arguments.pairs, memory_target_gb=target, size=arguments.size or scaled_image(target)
    )
    print("\n".join(lines))
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
