"""Prediction time of the parallel networks in relation to stock nnU-Net's, for images of many sizes.

    python benchmarks/image_sizes.py [--device cpu] [--pairs 8] [--memory-target 1.0] [--narrow]

How many windows an image takes depends on the patch, which is not the same in stock plans and in those of
MissingModPlanner. So one window of each network is timed, in turn with stock's, and multiplied by the windows that
nnU-Net's sliding window takes for an image. One image is predicted as a whole, too, to show that this is its time. With
a memory target below nnU-Net's 8 GB images are as much smaller as the patches. With ``--narrow`` there is also the
parallel network in stock's patches, a quarter as wide, which takes the memory of one network too. On a CPU the exit
code is 1 if fusion at logits takes more than machines of docs/performance.md did, with a margin for others.
"""

from __future__ import annotations

import copy
import statistics
import sys
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from measuring import compare, device_name, device_parser, exit_code, mixed_precision, synchronised
from models import CONFIGURATION, NUM_MODALITIES, dataset_without_images, make_plans
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from prediction_time import ARMS, HOST_TARGET, MEMORY_TARGET, OWN, STOCK, make_predictor
from torch import nn

# Voxels of 1 mm, of what nnU-Net's planner makes patches of 128 x 128 x 128 for.
IMAGES = {
    "a brain (BraTS)": (140, 170, 137),
    "a whole head": (192, 240, 200),
    "one patch": (128, 128, 128),
    "a little more than one": (136, 136, 136),
    "one and a half patches": (192, 192, 192),
    "two patches": (256, 256, 256),
    "thick slices": (48, 320, 320),
    "a flat slab": (80, 256, 256),
    "a long one": (120, 120, 400),
    "a small region": (96, 112, 96),
}
LOGITS, NARROW = "parallel, logits", "parallel, logits, narrow"
NETWORKS = ("stock", "slim", LOGITS, "parallel, features, mean")
WANTED = {"worst": 1.2, "mean": 1.0}
LIMITS = {"worst": 3.8, "mean": 1.9}
CHECKED = "a brain (BraTS)"


def windows(image: Sequence[int], patch: Sequence[int]) -> int:
    """Return how many windows nnU-Net's predictor takes, at its usual step of half a patch."""
    padded = [max(length, side) for length, side in zip(image, patch, strict=True)]
    return prod(len(steps) for steps in compute_steps_for_sliding_window(tuple(padded), tuple(patch), 0.5))


def quarter_as_wide(plans: dict[str, Any]) -> dict[str, Any]:
    """Return plans with the same patch and a quarter of the features."""
    narrow = copy.deepcopy(plans)
    arguments = narrow["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [width // 4 for width in arguments["features_per_stage"]]
    return narrow


def one_window(network: nn.Module, patch: Sequence[int], device: torch.device) -> Callable[[], float]:
    """Return what predicts a window of noise as nnU-Net does, and returns its seconds."""
    x = torch.randn(1, NUM_MODALITIES, *patch, device=device)

    def run() -> None:
        with torch.inference_mode(), mixed_precision(device):
            network(x)

    return synchronised(run, device)


def measure(
    device: torch.device, *, pairs: int, memory_target_gb: float, narrow: bool = False
) -> tuple[list[str], bool]:
    """Return the lines of the table, and whether the limits are kept."""
    scale = (memory_target_gb / HOST_TARGET) ** (1 / 3)
    images = {name: [round(length * scale) for length in size] for name, size in IMAGES.items()}
    with dataset_without_images() as preprocessed:
        plans = {kind: make_plans(kind, preprocessed, memory_target_gb=memory_target_gb) for kind in (STOCK, OWN)}
        predictors = {name: make_predictor(ARMS[name], plans[ARMS[name].planner], device) for name in NETWORKS}
        if narrow:
            predictors[NARROW] = make_predictor(ARMS[LOGITS], quarter_as_wide(plans[STOCK]), device)
    patches = {name: [*map(int, of.configuration_manager.patch_size)] for name, of in predictors.items()}

    def window(name: str) -> Callable[[], float]:
        return one_window(predictors[name].network, patches[name], device)

    of_window = compare(window("stock"), {name: window(name) for name in predictors}, pairs=pairs)
    ratios = {
        name: {
            image: of_window[name].median * windows(size, patches[name]) / windows(size, patches["stock"])
            for image, size in images.items()
        }
        for name in predictors
    }
    image = torch.randn(NUM_MODALITIES, *images[CHECKED])

    def whole(name: str) -> Any:
        predict = predictors[name].predict_sliding_window_return_logits
        return synchronised(lambda: predict(image.clone()), device)

    checked = compare(whole("stock"), {name: whole(name) for name in predictors}, pairs=max(2, pairs // 4))
    lines = [
        f"Target {memory_target_gb} GB, patches {patches['stock']} and {patches[LOGITS]}, {pairs} pairs, "
        f"one stock window {of_window['stock'].reference:.2f} s. Fusion at logits, wanted: mean {WANTED['mean']}, "
        f"worst {WANTED['worst']}; at most: {LIMITS['mean']}, {LIMITS['worst']}.",
        "",
        f"| image | voxels | {' | '.join(predictors)} |",
        f"| --- | --- | {' | '.join('--:' for _ in predictors)} |",
    ]
    for name, size in images.items():
        voxels = " x ".join(map(str, size))
        lines.append(f"| {name} | {voxels} | {' | '.join(f'{of[name]:.2f}' for of in ratios.values())} |")
    summaries = {
        label: {name: value(of.values()) for name, of in ratios.items()}
        for label, value in (("mean", statistics.mean), ("worst", max))
    }
    for label, values in summaries.items():
        lines.append(f"| {label} | | {' | '.join(f'{value:.2f}' for value in values.values())} |")
    lines.append(f"| {CHECKED}, predicted | | {' | '.join(f'{checked[of].median:.2f}' for of in predictors)} |")
    return lines, all(summaries[label][LOGITS] <= limit for label, limit in LIMITS.items())


def main() -> int:
    parser = device_parser(__doc__, MEMORY_TARGET, pairs=8)
    parser.add_argument("--narrow", action="store_true", help="also the parallel network, a quarter as wide")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print(device_name(device), flush=True)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    lines, kept = measure(device, pairs=arguments.pairs, memory_target_gb=target, narrow=arguments.narrow)
    print("\n".join(lines))
    return exit_code(kept, device)


if __name__ == "__main__":
    sys.exit(main())
