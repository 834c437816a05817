"""Measure on a GPU what only a GPU can tell, and write it into docs/performance.md, in 20 minutes.

    python benchmarks/gpu.py [--minutes 20] [--memory-target 8] [--pairs 10] [--output docs/performance.md]

Trainings as nnU-Net runs them there (its plans for 8 GB, mixed precision, compiled): time of a step and peak of memory
against stock nnU-Net's, and seconds of the first step (fewer where torch's caches know the network); the same without
compilation. Then the scripts that measure predictions and memory, with two GPUs or more a step in two processes, steps
in channels_last_3d and without cuDNN's search for the fastest convolution, which a batch that changes with what is
present sets going anew, and a few steps of every other trainer.

What fails is said in its row, and the next is measured. When the minutes are over, what is being measured ends and what
remains is said to be left out. No limit is checked, because none has been measured on a GPU: the exit code is 1 if a
measurement failed. Without a GPU it says so and exits with 0; ``--device cpu`` goes through the tables on small
networks, to try the script.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from measuring import Budget, Ratio, compare, device_name, device_parser, release, synchronised
from models import MEMORY_TARGET, dataset_without_images, fresh, make_batch, make_plans, make_trainer
from run_all import FOLDER, Script, run
from step_memory import OF_OTHER_PLANS, OWN, REFERENCE, STOCK, WITH_OWN_PLANS
from torch import distributed as dist
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import spawn

from nnunet_missingmod.choices import PRETRAINERS, TRAINERS
from nnunet_missingmod.training.method_trainer import MethodTrainer

COMPARED = (
    "nnUNetTrainerModalityDropout",
    "nnUNetTrainerHolderMISelf",
    "nnUNetTrainerSharedBackbone",
    "nnUNetTrainerRDL",
    "nnUNetTrainerM3FeCon",
    "nnUNetTrainerMedMAP",
    "nnUNetTrainerHolderMI",
    "nnUNetTrainerDeMoSeg",
)
OTHERS = tuple(
    name
    for group in ("Baselines", "Methods", "Families")
    for name in TRAINERS[group][1]
    if name not in (*COMPARED, *OF_OTHER_PLANS, *PRETRAINERS)
)
# On plans for 8 GB they take minutes; fewer networks and pairs than on a CPU.
SCRIPTS = (
    Script("prediction_time", 5, ("--device", "cuda", "--pairs", "3")),
    Script("memory", 5, ("--device", "cuda")),
    Script("all_subset_time", 5, ("--device", "cuda")),
)
# {trainer: whether it is compiled}
IN_TWO_PROCESSES = {
    "nnUNetTrainerModalityDropout": False,
    "nnUNetTrainerHolderMISelf": True,
    "nnUNetTrainerMMFormer": True,
}
MINUTES_OF_TWO_PROCESSES = 4.0
LONGEST_WAIT = timedelta(minutes=3)  # of one process for the other
BEGIN, END = "<!-- gpu -->", "<!-- end gpu -->"
FAILED = "failed: "


@dataclass(frozen=True)
class Way:
    """A way of training: compiled as nnU-Net does or not, in which memory format, with cuDNN's search or without.

    Attributes:
        most_pairs: that are measured.
        share: of the minutes, at most.
    """

    name: str
    trainers: tuple[str, ...]
    compiled: bool = False
    format: torch.memory_format = torch.contiguous_format
    search: bool = True
    most_pairs: int = 100
    share: float = 1.0


WAYS = (
    Way("as nnU-Net trains", COMPARED, compiled=True, share=0.45),
    Way("not compiled", COMPARED),
)
LAST_WAYS = (
    Way(
        "not compiled, channels_last_3d",
        ("nnUNetTrainerMedMAP", "nnUNetTrainerHolderMISelf"),
        format=torch.channels_last_3d,
    ),
    Way("not compiled, without cuDNN's search", ("nnUNetTrainerSharedBackbone",), search=False),
    Way("not compiled, the other trainers", OTHERS, most_pairs=3),
)


def planner_of(trainer: str) -> str:
    """Return the name of the planner of a trainer's plans."""
    return OWN if trainer in WITH_OWN_PLANS else STOCK


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


def stepper(trainer: Any, format: torch.memory_format = torch.contiguous_format) -> Callable[[], float]:
    """Return what takes a step, with images and weights in a memory format, and returns its seconds."""
    if format is not torch.contiguous_format:
        trainer.network.to(memory_format=format)
        if isinstance(trainer, MethodTrainer) and trainer.average is not None:
            trainer.average._network.to(memory_format=format)
    batch = make_batch(trainer)
    batch["data"] = batch["data"].contiguous(memory_format=format)

    def timed() -> float:
        own = fresh(batch)
        if trainer.device.type == "cuda":  # as nnU-Net's loader hands it out
            own = {"data": own["data"].pin_memory(), "target": [target.pin_memory() for target in own["target"]]}
        return synchronised(lambda: trainer.train_step(own), trainer.device)()

    return timed


def allocated_bytes(device: torch.device) -> int:
    """Return what torch has allocated on a GPU, else 0."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def peak_gigabytes(take_step: Callable[[], float], device: torch.device, *, before: int, steps: int) -> str:
    """Return the most that steps on random subsets allocate beyond ``before`` bytes, where torch counts it."""
    if device.type != "cuda":
        return ""
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(steps):
        take_step()
    return f"{(torch.cuda.max_memory_allocated(device) - before) / 1e9:.2f}"


def failure(error: Exception) -> str:
    """Return what a table says of an error, in one line."""
    if isinstance(error, TimeoutError):
        return "not measured: the time was over"
    said = " ".join(str(error).replace("|", "/").split())
    # Another process's error ends with its own message.
    return f"{FAILED}{type(error).__name__}: {said if len(said) <= 160 else f'{said[:80]} ... {said[-80:]}'}"


def rows_of(
    way: Way, plans: Mapping[str, dict[str, Any]], device: torch.device, *, pairs: int, budget: Budget
) -> Iterator[list[str]]:
    """Yield the cells of stock nnU-Net's row and of each trainer's, measured in turn with stock's step in the same way.

    Raises:
        Exception: stock's step fails, so that there is nothing to compare with.
    """
    with trained_in(way):
        before = allocated_bytes(device)
        with budget.limit():
            stock = stepper(make_trainer(REFERENCE, plans[STOCK], device), way.format)
            first = stock()
            seconds = statistics.median(stock() for _ in range(pairs))
            memory = peak_gigabytes(stock, device, before=before, steps=pairs)
        yield [f"`{REFERENCE}`", f"{seconds:.3f}", "", "", f"{first:.0f}", memory]
        for name in way.trainers:
            cells = _cells_of(name, plans[planner_of(name)], stock, way, device, pairs=pairs, budget=budget)
            release(device)
            yield [f"`{name}`", *cells]


def _cells_of(
    name: str,
    plans: dict[str, Any],
    stock: Callable[[], float],
    way: Way,
    device: torch.device,
    *,
    pairs: int,
    budget: Budget,
) -> list[str]:
    """Return a trainer's cells; where it fails, why: what the others take is not lost with it."""
    before = allocated_bytes(device)
    try:
        with budget.limit():
            step = stepper(make_trainer(name, plans, device), way.format)
            first = step()
            ratio: Ratio = compare(stock, {name: step}, pairs=pairs, warmup=3)[name]
            memory = peak_gigabytes(step, device, before=before, steps=pairs)
    except Exception as error:  # out of memory, or whatever a compiler raises
        return [failure(error), "", "", "", ""]
    return [f"{ratio.median * ratio.reference:.3f}", *ratio.cells().split(" | "), f"{first:.0f}", memory]


def table(
    way: Way, plans: Mapping[str, dict[str, Any]], device: torch.device, *, pairs: int, budget: Budget
) -> list[str]:
    """Return the lines of a way's table; if stock's step fails, a row says so and which trainers lack one."""
    rows: list[list[str]] = []
    try:
        rows.extend(rows_of(way, plans, device, pairs=min(pairs, way.most_pairs), budget=budget))
    except Exception as error:
        missing = (REFERENCE, *way.trainers)[len(rows) :]
        rows.append([", ".join(f"`{name}`" for name in missing), failure(error), "", "", "", ""])
    release(device)
    return [
        f"Training steps, {way.name}:",
        "",
        "| trainer | s a step | ratio to stock | quartiles | first step, s | memory, GB |",
        "| --- | --: | --: | --: | --: | --: |",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def in_two_processes(name: str, *, compiled: bool, pairs: int, budget: Budget) -> list[str]:
    """Return what a trainer's step takes in two processes, each with a GPU of its own, against one process alone."""
    what = f"`{name}`{', compiled' if compiled else ''}, in two processes with a GPU each (nccl)"
    if torch.cuda.device_count() < 2:
        return [f"{what}: not measured, there are not two GPUs.", ""]
    try:
        alone, together = _of_two_processes(name, compiled, pairs, budget.at_most(MINUTES_OF_TWO_PROCESSES))
    except Exception as error:
        return [f"{what}: {failure(error)}.", ""]
    return [f"{what}: a step takes {together / alone:.2f} of the time of a process alone, {alone:.3f} s.", ""]


def _of_two_processes(name: str, compiled: bool, pairs: int, budget: Budget) -> tuple[float, float]:
    """Return the seconds of a step alone and in two processes; what hangs is ended with the budget."""
    if not budget.seconds():
        raise TimeoutError
    queue = get_context("spawn").SimpleQueue()
    with TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        processes = spawn(_distributed, args=(name, compiled, pairs, meeting, queue), nprocs=2, join=False)
        try:
            while not processes.join(timeout=budget.seconds()):
                if not budget.seconds():
                    raise TimeoutError
        finally:
            for process in processes.processes:
                process.kill()
                process.join()
    return tuple(queue.get())


def _distributed(rank: int, name: str, compiled: bool, pairs: int, meeting: str, queue: Any) -> None:
    torch.cuda.set_device(rank)
    device = torch.device("cuda")
    with trained_in(Way("", (), compiled=compiled)), dataset_without_images() as preprocessed:
        plans = make_plans(planner_of(name), preprocessed, memory_target_gb=MEMORY_TARGET["cuda"])

        def seconds() -> float:
            step = stepper(make_trainer(name, plans, device))
            return statistics.median([step() for _ in range(pairs + 3)][3:])

        dist.init_process_group("nccl", init_method=meeting, rank=rank, world_size=2, timeout=LONGEST_WAIT)
        together = seconds()  # nnU-Net's trainer finds that there are two processes, and wraps its network
        dist.destroy_process_group()
        release(device)
        if rank == 0:
            queue.put((seconds(), together))


def write_section(document: Path, lines: list[str]) -> None:
    """Put the lines into the place that a document has for them, or at its end."""
    text = document.read_text(encoding="utf-8") if document.exists() else ""
    section = "\n".join([BEGIN, *lines, END])
    found = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    text = found.sub(lambda _: section, text) if found.search(text) else f"{text.rstrip()}\n\n{section}\n"
    document.write_text(text, encoding="utf-8")


def main() -> int:
    parser = device_parser(__doc__, MEMORY_TARGET, pairs=10)
    parser.set_defaults(device="cuda")
    parser.add_argument("--minutes", type=float, default=20, help="for everything together")
    parser.add_argument("--output", type=Path, help="default: docs/performance.md; of a trial on a CPU, nowhere")
    arguments = parser.parse_args()
    if arguments.output is None and arguments.device == "cuda":
        arguments.output = FOLDER.parent / "docs" / "performance.md"
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here that torch can use: nothing was measured.")
        return 0
    device = torch.device(arguments.device)
    target = arguments.memory_target or MEMORY_TARGET[device.type]
    lines = [f"`python benchmarks/gpu.py` on {time.strftime('%Y-%m-%d')}: {device_name(device)}.", ""]
    budget = Budget(arguments.minutes)
    failed = False
    for more, good in measured(device, pairs=arguments.pairs, memory_target_gb=target, budget=budget):
        print("\n".join(more), flush=True)
        lines += more
        failed |= not good
        # After each table: what is measured stays if the rest fails. A trial on a CPU writes where it is told to.
        if arguments.output is not None:
            write_section(arguments.output, lines)
    return int(failed)


def measured(
    device: torch.device, *, pairs: int, memory_target_gb: float, budget: Budget
) -> Iterator[tuple[list[str], bool]]:
    """Yield the lines of one table after the other, and whether nothing in it failed."""
    minutes = budget.seconds() / 60
    with dataset_without_images() as preprocessed:
        plans = {kind: make_plans(kind, preprocessed, memory_target_gb=memory_target_gb) for kind in (STOCK, OWN)}
        patches = ("x".join(map(str, plan["configurations"]["3d_fullres"]["patch_size"])) for plan in plans.values())
        planned = f"Planned for {memory_target_gb:g} GB: patches of {' and, own plans, '.join(patches)}"
        yield [f"{planned}; at most {pairs} pairs and {minutes:g} minutes.", ""], True

        def measured_in(way: Way) -> tuple[list[str], bool]:
            return _told(table(way, plans, device, pairs=pairs, budget=budget.at_most(way.share * minutes)))

        yield from map(measured_in, WAYS)
        if device.type == "cuda":
            for script in SCRIPTS:
                section, good = run(script, budget)
                yield [section], good or not budget.seconds()  # what the time did not reach has not failed
            for name, compiled in IN_TWO_PROCESSES.items():
                yield _told(in_two_processes(name, compiled=compiled, pairs=pairs, budget=budget))
        yield from map(measured_in, LAST_WAYS)


def _told(lines: list[str]) -> tuple[list[str], bool]:
    return lines, not any(FAILED in line for line in lines)


if __name__ == "__main__":
    sys.exit(main())
