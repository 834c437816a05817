"""Where the time of one window goes in the prediction of each network, by kind of operation.

    python benchmarks/window_profile.py [--device cpu] [--memory-target 1.0] [--windows 4]

The networks and patches are those of ``image_sizes.py``. torch's profiler sums what each kind takes by itself. Prints
its share of a window's time; the window's time and the multiplications of its convolutions for each voxel, in relation
to stock's; and which share of the multiplications the last layers have, the 1 x 1 convolutions to logits: as much could
be saved at most by fusing before them what is fused after them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from family_costs import count
from image_sizes import LOGITS, NETWORKS, one_window
from measuring import device_name, device_parser
from models import NUM_MODALITIES, dataset_without_images, make_plans
from prediction_time import ARMS, MEMORY_TARGET, OWN, STOCK, make_predictor
from torch import nn
from torch.profiler import ProfilerActivity, profile

KINDS = {"convolution": ("conv",), "normalisation": ("norm",), "activation": ("relu",), "joining": ("cat",)}
OTHERS = "the rest"


def kind_of(operation: str) -> str:
    """Return the kind that an operation of torch is counted as."""
    return next((kind for kind, words in KINDS.items() if any(word in operation for word in words)), OTHERS)


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each kind, from the time that each operation takes by itself."""
    total = sum(seconds.values())
    found = dict.fromkeys([*KINDS, OTHERS], 0.0)
    for operation, taken in seconds.items():
        found[kind_of(operation)] += taken / total
    return found


def profiled(network: nn.Module, patch: list[int], device: torch.device, *, windows: int) -> dict[str, float]:
    """Return the seconds that each operation takes by itself in some windows, after one that is not counted."""
    run = one_window(network, patch, device)
    run()
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        for _ in range(windows):
            run()
    taken = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return {event.key: getattr(event, taken) / 1e6 for event in profiler.key_averages()}


def multiplications(network: nn.Module, patch: list[int], device: torch.device) -> tuple[float, float]:
    """Return the multiplications of convolutions for each voxel of a window, and the share of those to logits."""
    (last,) = [module for name, module in network.named_modules() if name.rpartition(".")[2] == "seg_layers"]
    x = torch.randn(1, NUM_MODALITIES, *patch, device=device)

    def run() -> None:
        with torch.inference_mode():
            network(x)

    every = count(network, run)
    return every / prod(patch), count(last, run) / every


def table(device: torch.device, *, memory_target_gb: float, windows: int) -> list[str]:
    """Return the lines of the table."""
    with dataset_without_images() as preprocessed:
        plans = {kind: make_plans(kind, preprocessed, memory_target_gb=memory_target_gb) for kind in (STOCK, OWN)}
        predictors = {name: make_predictor(ARMS[name], plans[ARMS[name].planner], device) for name in NETWORKS}
    patches = {name: [*map(int, of.configuration_manager.patch_size)] for name, of in predictors.items()}
    lines = [
        f"Target {memory_target_gb} GB, patches {patches['stock']} and {patches[LOGITS]}.",
        "",
        f"| network | {' | '.join([*KINDS, OTHERS])} | time of a voxel | multiplications | last layers |",
        f"| --- | {' | '.join('--:' for _ in [*KINDS, OTHERS])} | --: | --: | --: |",
    ]
    stock: tuple[float, float] | None = None
    for name, predictor in predictors.items():
        seconds = profiled(predictor.network, patches[name], device, windows=windows)
        of_voxel = sum(seconds.values()) / prod(patches[name])
        multiplied, last = multiplications(predictor.network, patches[name], device)
        stock = stock or (of_voxel, multiplied)
        cells = [f"{share:.0%}" for share in shares(seconds).values()]
        cells += [f"{of_voxel / stock[0]:.2f}", f"{multiplied / stock[1]:.2f}", f"{last:.2%}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = device_parser(__doc__, MEMORY_TARGET, pairs=None)
    parser.add_argument("--windows", type=int, default=4)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print(device_name(device), flush=True)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    print("\n".join(table(device, memory_target_gb=target, windows=arguments.windows)))


if __name__ == "__main__":
    main()
