"""Measure on a GPU what only a GPU can tell, and write it into docs/performance.md, under 20 minutes.

    python benchmarks/gpu.py [--memory-target 8] [--pairs 20] [--output docs/performance.md]

Trainings as nnU-Net runs them there (its plans for 8 GB, mixed precision, compiled): time of a step and peak of memory
against stock nnU-Net's, and seconds of the first step (fewer where torch's caches know the network); the same without
compilation, in channels_last_3d, and without cuDNN's search for the fastest convolution, which a batch that changes
with what is present sets going anew. Then the scripts that measure predictions and memory, and, with two GPUs or more,
a step in two processes. What fails is said in its row. Without a GPU it says so and exits with 0; ``--device cpu`` goes
through the tables on small networks, to try the script.
"""

from __future__ import annotations

import gc
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from measuring import Ratio, compare, device_name, device_parser, synchronised
from models import MEMORY_TARGET, dataset_without_images, fresh, make_batch, make_plans, make_trainer
from run_all import FOLDER, run
from torch import distributed as dist
from torch import nn
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import spawn

from nnunet_missingmod.training.method_trainer import MethodTrainer

STOCK, OWN = "ExperimentPlanner", "MissingModPlanner"
# {trainer: the planner of its plans}
TRAINERS = {
    "nnUNetTrainer": STOCK,
    "nnUNetTrainerModalityDropout": STOCK,
    "nnUNetTrainerMedMAP": STOCK,
    "nnUNetTrainerHolderMI": STOCK,
    "nnUNetTrainerHolderMISelf": STOCK,
    "nnUNetTrainerM3FeCon": STOCK,
    "nnUNetTrainerDeMoSeg": STOCK,
    "nnUNetTrainerSharedBackbone": OWN,
    "nnUNetTrainerRDL": OWN,
}
SCRIPTS = {"prediction_time": ["--pairs", "10"], "all_subset_time": [], "memory": []}
BEGIN, END = "<!-- gpu -->", "<!-- end gpu -->"


@dataclass(frozen=True)
class Way:
    """A way of training: compiled as nnU-Net does or not, in which memory format, with cuDNN's search or without."""

    name: str
    trainers: tuple[str, ...]
    compiled: bool = False
    format: torch.memory_format = torch.contiguous_format
    search: bool = True


WAYS = (
    Way("as nnU-Net trains", tuple(TRAINERS), compiled=True),
    Way("not compiled", tuple(TRAINERS)),
    Way(
        "not compiled, channels_last_3d",
        ("nnUNetTrainer", "nnUNetTrainerMedMAP", "nnUNetTrainerHolderMISelf"),
        format=torch.channels_last_3d,
    ),
    Way("not compiled, without cuDNN's search", ("nnUNetTrainer", "nnUNetTrainerSharedBackbone"), search=False),
)


@contextmanager
def trained_in(way: Way) -> Iterator[None]:
    """Let trainers be built and step in a way."""
    before = torch.backends.cudnn.benchmark
    with patch.dict(os.environ, {"nnUNet_compile": "true" if way.compiled else "false"}):
        torch.backends.cudnn.benchmark = way.search
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = before


def stepper(trainer: Any, way: Way) -> Callable[[], float]:
    """Return what takes a step and returns its seconds."""
    if way.format is not torch.contiguous_format:
        trainer.network.to(memory_format=way.format)
        if isinstance(trainer, MethodTrainer) and trainer.average is not None:
            trainer.average._network.to(memory_format=way.format)
    batch = make_batch(trainer)
    batch["data"] = batch["data"].contiguous(memory_format=way.format)

    def timed() -> float:
        own = fresh(batch)
        if trainer.device.type == "cuda":  # as nnU-Net's loader hands it out
            own = {"data": own["data"].pin_memory(), "target": [target.pin_memory() for target in own["target"]]}
        return synchronised(lambda: trainer.train_step(own), trainer.device)()

    return timed


def allocated_bytes(device: torch.device) -> int:
    """Return what torch has allocated on a GPU, else 0."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def peak_gigabytes(take_step: Callable[[], float], device: torch.device, *, before: int, steps: int = 10) -> str:
    """Return the most that steps on random subsets allocate beyond ``before`` bytes, where torch counts it."""
    if device.type != "cuda":
        return ""
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(steps):
        take_step()
    return f"{(torch.cuda.max_memory_allocated(device) - before) / 1e9:.2f}"


def rows_of(way: Way, plans: Mapping[str, dict[str, Any]], device: torch.device, *, pairs: int) -> Iterator[list[str]]:
    """Yield the cells of each trainer's row, measured in turn with stock nnU-Net's step in the same way."""
    with trained_in(way):
        before = allocated_bytes(device)
        stock = stepper(make_trainer("nnUNetTrainer", plans[STOCK], device), way)
        first_of_stock = stock()
        memory = peak_gigabytes(stock, device, before=before)
        for name in way.trainers:
            if name == "nnUNetTrainer":
                seconds = statistics.median(stock() for _ in range(pairs))
                yield [f"`{name}`", f"{seconds:.3f} s a step", "", f"{first_of_stock:.0f}", memory]
                continue
            cells = _cells_of(name, plans[TRAINERS[name]], stock, way, device, pairs=pairs)
            _release(device)
            yield [f"`{name}`", *cells]
    del stock
    _release(device)


def _cells_of(
    name: str, plans: dict[str, Any], stock: Callable[[], float], way: Way, device: torch.device, *, pairs: int
) -> list[str]:
    """Return a trainer's cells; where it fails, why: what the others take is not lost with it."""
    before = allocated_bytes(device)
    try:
        step = stepper(make_trainer(name, plans, device), way)
        first = step()
        ratio: Ratio = compare(stock, {name: step}, pairs=pairs, warmup=3)[name]
        memory = peak_gigabytes(step, device, before=before)
    except Exception as error:  # out of memory, or whatever a compiler raises
        return [f"failed: {type(error).__name__}", "", "", ""]
    return [f"{ratio.median:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}", f"{first:.0f}", memory]


def _release(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def steps(device: torch.device, *, pairs: int, memory_target_gb: float) -> Iterator[list[str]]:
    """Yield the lines of each table of training steps."""
    with dataset_without_images() as preprocessed:
        plans = {kind: make_plans(kind, preprocessed, memory_target_gb=memory_target_gb) for kind in (STOCK, OWN)}
        patches = ("x".join(map(str, plan["configurations"]["3d_fullres"]["patch_size"])) for plan in plans.values())
        yield [
            f"Planned for {memory_target_gb:g} GB: patches of {' and, own plans, '.join(patches)}; {pairs} pairs.",
            "",
        ]
        for way in WAYS:
            yield [
                f"Training steps, {way.name}:",
                "",
                "| trainer | ratio to stock | quartiles | first step, s | memory, GB |",
                "| --- | --: | --: | --: | --: |",
                *(f"| {' | '.join(row)} |" for row in rows_of(way, plans, device, pairs=pairs)),
                "",
            ]


def in_two_processes(pairs: int) -> list[str]:
    """Return what a step of modality dropout takes in two processes, each with a GPU of its own."""
    if torch.cuda.device_count() < 2:
        return ["Distributed training was not measured: there is one GPU."]
    queue = get_context("spawn").SimpleQueue()
    try:
        spawn(_distributed, args=(pairs, queue), nprocs=2)
    except Exception as error:
        return [f"Distributed training failed: {type(error).__name__}."]
    alone, together = queue.get()
    return [
        f"In two processes with a GPU each (nccl), a step takes {together / alone:.2f} of the time of a process alone."
    ]


def _distributed(rank: int, pairs: int, queue: Any) -> None:
    # nnU-Net takes the first GPU that it sees, so each process sees its own alone.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")
    os.environ.update(
        CUDA_VISIBLE_DEVICES=visible[rank], MASTER_ADDR="127.0.0.1", MASTER_PORT="29511", nnUNet_compile="false"
    )
    with dataset_without_images() as preprocessed:
        plans = make_plans(STOCK, preprocessed, memory_target_gb=MEMORY_TARGET["cuda"])
        trainer: Any = make_trainer("nnUNetTrainerModalityDropout", plans, torch.device("cuda"))
    step = stepper(trainer, WAYS[1])
    alone = statistics.median([step() for _ in range(pairs + 3)][3:])
    dist.init_process_group("nccl", rank=rank, world_size=2)
    trainer.network = nn.parallel.DistributedDataParallel(trainer.network, device_ids=[0])
    together = statistics.median([step() for _ in range(pairs + 3)][3:])
    dist.destroy_process_group()
    if rank == 0:
        queue.put((alone, together))


def write_section(document: Path, lines: list[str]) -> None:
    """Put the lines into the place that a document has for them, or at its end."""
    text = document.read_text(encoding="utf-8") if document.exists() else ""
    section = "\n".join([BEGIN, *lines, END])
    found = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    text = found.sub(lambda _: section, text) if found.search(text) else f"{text.rstrip()}\n\n{section}\n"
    document.write_text(text, encoding="utf-8")


def main() -> int:
    parser = device_parser(__doc__, MEMORY_TARGET, pairs=20)
    parser.set_defaults(device="cuda")
    parser.add_argument("--output", type=Path, help="default: docs/performance.md; of a trial on a CPU, nowhere")
    arguments = parser.parse_args()
    if arguments.output is None and arguments.device == "cuda":
        arguments.output = FOLDER.parent / "docs" / "performance.md"
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here that torch can use: nothing was measured.")
        return 0
    # One class's networks count together, and each trainer here has one.
    torch._dynamo.config.recompile_limit = 100
    device = torch.device(arguments.device)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    lines = [f"`python benchmarks/gpu.py` on {time.strftime('%Y-%m-%d')}: {device_name(device)}.", ""]
    kept = True
    for more, good in measured(device, pairs=arguments.pairs, memory_target_gb=target):
        print("\n".join(more), flush=True)
        lines += more
        kept &= good
        # After each table: what is measured stays if the rest fails. A trial on a CPU writes where it is told to.
        if arguments.output is not None:
            write_section(arguments.output, lines)
    return int(not kept)


def measured(device: torch.device, *, pairs: int, memory_target_gb: float) -> Iterator[tuple[list[str], bool]]:
    """Yield the lines of one table after the other, and whether its limits are kept."""
    for lines in steps(device, pairs=pairs, memory_target_gb=memory_target_gb):
        yield lines, True
    if device.type == "cuda":
        yield [*in_two_processes(pairs), ""], True
        for script, options in SCRIPTS.items():
            section, good = run(script, ["--device", "cuda", *options])
            yield [section], good


if __name__ == "__main__":
    sys.exit(main())
