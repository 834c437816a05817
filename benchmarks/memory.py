"""Compare what a training step of the parallel network keeps in memory with what the planner counted.

    python benchmarks/memory.py [--device cpu] [--memory-target 0.12]

On any device: the bytes that the network keeps for its backward pass, per convolution output that the planner counts,
of the parallel network under its own plans against stock nnU-Net's under stock plans. The planner's calibration carries
over if the two agree. On a GPU also the peak of a whole step, against the memory target. Exit code 1 if a limit is
exceeded.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from measuring import device_name, device_parser
from models import MEMORY_TARGET, dataset_without_images, fresh, make_batch, make_plans, make_trainer
from torch import nn

STOCK, OWN = "ExperimentPlanner", "MissingModPlanner"
ARMS = {
    "nnUNetTrainer": STOCK,
    "nnUNetTrainerHolderMI": STOCK,
    "nnUNetTrainerSharedBackbone": OWN,
    "nnUNetTrainerHolderMIParallel": OWN,
    "nnUNetTrainerRDL": OWN,
}
LARGEST_DEVIATION = 0.10  # of bytes per counted output, and on a GPU of the peak from the target
MEASURED_AGAINST_TARGET = "nnUNetTrainerSharedBackbone"


def kept_bytes(network: nn.Module, data: torch.Tensor) -> int:
    """Return how many bytes ``network(data)`` keeps for its backward pass, each storage once, parameters not."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = network(data)
    del output
    return sum(kept.values())


def counted_outputs(trainer: Any) -> int:
    """Return the convolution outputs of a batch, as the planner counts them."""
    network = trainer.network
    chosen = trainer.configuration_manager
    return int(network.compute_conv_feature_map_size(chosen.patch_size)) * int(chosen.batch_size)


def peak_bytes(trainer: Any) -> int:
    """Return the most that a training step has allocated on the GPU, with complete cases."""
    batch = make_batch(trainer)
    trainer.dropout = None
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats()
        trainer.train_step(fresh(batch))
    return torch.cuda.max_memory_reserved()


def measure(device: torch.device, *, memory_target_gb: float) -> tuple[list[str], bool]:
    """Return the lines of the table, and whether all limits are kept."""
    lines = [
        f"Target {memory_target_gb} GB.",
        "",
        "| trainer | plans | counted, millions | kept, MB | kept per counted / stock's | peak, GB | peak / target |",
        "| --- | --- | --: | --: | --: | --: | --: |",
    ]
    good = True
    of_stock = 0.0
    with dataset_without_images() as preprocessed:
        for name, planner in ARMS.items():
            trainer = make_trainer(name, make_plans(planner, preprocessed, memory_target_gb=memory_target_gb), device)
            counted = counted_outputs(trainer)
            data = make_batch(trainer)["data"].to(device)
            with torch.autocast(device.type, enabled=device.type == "cuda"):
                kept = kept_bytes(trainer.network, data)
            per_output = kept / counted
            of_stock = of_stock or per_output
            relative = per_output / of_stock
            good &= abs(relative - 1) <= LARGEST_DEVIATION
            peak = peak_share = ""
            if device.type == "cuda":
                gigabytes = peak_bytes(trainer) / 1e9
                peak, peak_share = f"{gigabytes:.2f}", f"{gigabytes / memory_target_gb:.2f}"
                if name == MEASURED_AGAINST_TARGET:
                    good &= abs(gigabytes / memory_target_gb - 1) <= LARGEST_DEVIATION
            of = "stock" if planner == STOCK else "own"
            lines.append(
                f"| `{name}` | {of} | {counted / 1e6:.1f} | {kept / 1e6:.0f} | {relative:.3f} | {peak} | {peak_share} |"
            )
            del trainer, data
    return lines, good


def main() -> int:
    arguments = device_parser(__doc__, MEMORY_TARGET, pairs=None).parse_args()
    device = torch.device(arguments.device)
    print(device_name(device), flush=True)
    lines, good = measure(device, memory_target_gb=arguments.memory_target or MEMORY_TARGET[device.type])
    print("\n".join(lines))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
