"""Prediction time of the parallel networks in relation to stock nnU-Net's, for images of many sizes.

    python benchmarks/image_sizes.py [--device cpu] [--pairs 8] [--memory-target 1.0]

How many windows an image takes depends on the patch, which is not the same in stock plans and in those of
MissingModPlanner. So one window of each network is timed, in turn with stock's, and multiplied by the windows that
nnU-Net's sliding window takes for an image. One image is predicted as a whole, too, to show that this is its time. With
a memory target below nnU-Net's 8 GB images are as much smaller as the patches. Exit code 1 if a limit is exceeded.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from measuring import compare, device_name, device_parser, synchronised
from models import dataset_without_images
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from prediction_time import HOST_TARGET, MEMORY_TARGET, make_predictor

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
NETWORKS = ("stock", "slim", "parallel, logits", "parallel, features, mean")
WORST, MEAN = 1.2, 1.0
CHECKED = "a brain (BraTS)"


def windows(image: Sequence[int], patch: Sequence[int]) -> int:
    """Return how many windows nnU-Net's predictor takes, at its usual step of half a patch."""
    padded = [max(length, side) for length, side in zip(image, patch, strict=True)]
    return prod(len(steps) for steps in compute_steps_for_sliding_window(tuple(padded), tuple(patch), 0.5))


def measure(device: torch.device, *, pairs: int, memory_target_gb: float) -> tuple[list[str], bool]:
    """Return the lines of the table, and whether the limits are kept."""
    scale = (memory_target_gb / HOST_TARGET) ** (1 / 3)
    images = {name: [round(length * scale) for length in size] for name, size in IMAGES.items()}
    with dataset_without_images() as preprocessed:
        predictors = {name: make_predictor(name, preprocessed, device, memory_target_gb) for name in NETWORKS}
    patches = {name: [*map(int, of.configuration_manager.patch_size)] for name, of in predictors.items()}

    def one_window(name: str) -> Any:
        x = torch.randn(1, 4, *patches[name], device=device)
        network = predictors[name].network.to(device).eval()

        def run() -> None:
            with torch.inference_mode():
                network(x)

        return synchronised(run, device)

    of_window = compare(one_window("stock"), {name: one_window(name) for name in NETWORKS}, pairs=pairs)
    ratios = {
        name: {
            image: of_window[name].median * windows(size, patches[name]) / windows(size, patches["stock"])
            for image, size in images.items()
        }
        for name in NETWORKS
    }
    image = torch.randn(4, *images[CHECKED])

    def whole(name: str) -> Any:
        predict = predictors[name].predict_sliding_window_return_logits
        return synchronised(lambda: predict(image.clone()), device)

    checked = compare(whole("stock"), {name: whole(name) for name in NETWORKS}, pairs=max(2, pairs // 4))
    lines = [
        f"Target {memory_target_gb} GB, patches {patches['stock']} and {patches['parallel, logits']}, {pairs} pairs, "
        f"one stock window {of_window['stock'].reference:.2f} s.",
        "",
        f"| image | voxels | {' | '.join(NETWORKS)} |",
        f"| --- | --- | {' | '.join('--:' for _ in NETWORKS)} |",
    ]
    for name, size in images.items():
        voxels = " x ".join(map(str, size))
        lines.append(f"| {name} | {voxels} | {' | '.join(f'{ratios[of][name]:.2f}' for of in NETWORKS)} |")
    for label, value in (("mean", statistics.mean), ("worst", max)):
        lines.append(f"| {label} | | {' | '.join(f'{value(ratios[of].values()):.2f}' for of in NETWORKS)} |")
    lines.append(f"| {CHECKED}, predicted | | {' | '.join(f'{checked[of].median:.2f}' for of in NETWORKS)} |")
    of_logits = ratios["parallel, logits"].values()
    return lines, max(of_logits) <= WORST and statistics.mean(of_logits) <= MEAN


def main() -> int:
    arguments = device_parser(__doc__, MEMORY_TARGET, pairs=8).parse_args()
    device = torch.device(arguments.device)
    print(device_name(device), flush=True)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    lines, kept = measure(device, pairs=arguments.pairs, memory_target_gb=target)
    print("\n".join(lines))
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
