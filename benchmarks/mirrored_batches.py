"""Would a prediction's mirrored passes be faster several to a batch? One patch with all eight flips, one CPU thread.

    python benchmarks/mirrored_batches.py [--pairs 5] [--memory-target 0.3]

Prints the time of passes in batches of 2 and of 8 in relation to one by one, which is how nnU-Net takes them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import combinations

import torch
from measuring import compare, device_name, synchronised
from models import NUM_MODALITIES, dataset_without_images, make_plans, make_trainer

FLIPS = [axes for number in range(4) for axes in combinations((2, 3, 4), number)]
ARMS = {
    "early": ("nnUNetTrainerMedMAP", "ExperimentPlanner"),
    "parallel, logits": ("nnUNetTrainerSharedBackbone", "MissingModPlanner"),
}
CPU = torch.device("cpu")


def predict(network: Callable[[torch.Tensor], torch.Tensor], patch: torch.Tensor, size: int) -> torch.Tensor:
    """Return the mean logits over all flips of a patch (1, J, *spatial), ``size`` flips to a batch."""
    total = torch.zeros(())
    for start in range(0, len(FLIPS), size):
        chosen = FLIPS[start : start + size]
        logits = network(torch.cat([torch.flip(patch, axes) for axes in chosen]))
        total = total + sum(torch.flip(row[None], axes) for row, axes in zip(logits, chosen, strict=True))
    return total / len(FLIPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--memory-target", type=float, default=0.3, help="GB; decides the size of patch and network")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{device_name(CPU)}\n")
    print("| network | flips to a batch | time / one by one | quartiles |\n| --- | --: | --: | --: |")
    for name, (trainer_name, planner) in ARMS.items():
        with dataset_without_images() as preprocessed:
            plans = make_plans(planner, preprocessed, memory_target_gb=arguments.memory_target)
            trainer = make_trainer(trainer_name, plans, CPU, channel_encoder="shared")
        trainer.set_deep_supervision_enabled(False)
        network = trainer.network.eval()
        patch = torch.randn(1, NUM_MODALITIES, *trainer.configuration_manager.patch_size)
        with torch.inference_mode():
            runs = {size: synchronised(partial(predict, network, patch, size), CPU) for size in (1, 2, 8)}
            found = compare(runs[1], {str(size): runs[size] for size in (2, 8)}, pairs=arguments.pairs)
        for size, ratio in found.items():
            print(f"| {name} | {size} | {ratio.cells()} |", flush=True)


if __name__ == "__main__":
    main()
