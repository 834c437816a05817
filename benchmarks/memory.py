"""Compare what a training step of the parallel network keeps in memory with what the planner counted.

    python benchmarks/memory.py [--device cpu] [--memory-target 0.12]

On any device: the bytes that the network keeps for its backward pass, per convolution output that the planner counts,
of the parallel network under its own plans against stock nnU-Net's under stock plans. The planner's calibration carries
over if the two agree: on a CPU the exit code is 1 if one keeps a tenth more or less. On a GPU also the peak of a whole
step, against the memory target; what it should be at most has not been measured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import torch
from measuring import device_name, device_parser, exit_code, mixed_precision, release
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
LARGEST_DEVIATION = 0.10  # of bytes per counted output


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


def counted_and_kept(name: str, plans: dict[str, Any], device: torch.device) -> tuple[int, int]:
    """Return the convolution outputs of a batch that the planner counts, and the bytes that are kept of them.

    The network is not compiled: a compiler keeps other tensors, and computes some again.
    """
    release(device)
    with patch.dict(os.environ, {"nnUNet_compile": "f"}):
        trainer: Any = make_trainer(name, plans, device)
    chosen = trainer.configuration_manager
    counted = int(trainer.network.compute_conv_feature_map_size(chosen.patch_size)) * int(chosen.batch_size)
    with mixed_precision(device):
        return counted, kept_bytes(trainer.network, make_batch(trainer)["data"].to(device))


def peak_bytes(name: str, plans: dict[str, Any], device: torch.device) -> int:
    """Return the most that torch reserves on the GPU for a training step of complete cases, compiled as nnU-Net does.

    What compilation and cuDNN's search for the fastest convolution reserve in the first steps does not count.
    """
    release(device)
    torch._dynamo.reset()  # other trainers' networks would count towards torch's limit of compilations
    trainer: Any = make_trainer(name, plans, device)
    trainer.dropout = None
    batch = make_batch(trainer)
    for _ in range(2):
        trainer.train_step(fresh(batch))
    release(device)
    torch.cuda.reset_peak_memory_stats(device)
    trainer.train_step(fresh(batch))
    return torch.cuda.max_memory_reserved(device)


def measure(device: torch.device, *, memory_target_gb: float) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the table as they are known, each with whether its limit is kept."""
    yield f"Target {memory_target_gb} GB.\n", True
    columns = "counted, millions | kept, MB | kept per counted / stock's | peak, GB | peak / target"
    yield f"| trainer | plans | {columns} |", True
    yield "| --- | --- | --: | --: | --: | --: | --: |", True
    of_stock = 0.0
    with dataset_without_images() as preprocessed:
        plans = {kind: make_plans(kind, preprocessed, memory_target_gb=memory_target_gb) for kind in (STOCK, OWN)}
        for name, planner in ARMS.items():
            counted, kept = counted_and_kept(name, plans[planner], device)
            per_output = kept / counted
            of_stock = of_stock or per_output
            relative = per_output / of_stock
            peak = peak_share = ""
            if device.type == "cuda":
                gigabytes = peak_bytes(name, plans[planner], device) / 1e9
                peak, peak_share = f"{gigabytes:.2f}", f"{gigabytes / memory_target_gb:.2f}"
            of = "stock" if planner == STOCK else "own"
            numbers = f"{counted / 1e6:.1f} | {kept / 1e6:.0f} | {relative:.3f} | {peak} | {peak_share}"
            yield f"| `{name}` | {of} | {numbers} |", abs(relative - 1) <= LARGEST_DEVIATION


def main() -> int:
    arguments = device_parser(__doc__, MEMORY_TARGET, pairs=None).parse_args()
    device = torch.device(arguments.device)
    print(device_name(device), flush=True)
    good = True
    for line, kept in measure(device, memory_target_gb=arguments.memory_target or MEMORY_TARGET[device.type]):
        print(line, flush=True)
        good &= kept
    return exit_code(good, device)


if __name__ == "__main__":
    sys.exit(main())
