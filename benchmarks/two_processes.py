"""Time a training step in two processes, each with a GPU of its own, against one process alone; of ``gpu.py``."""

from __future__ import annotations

import statistics
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from measuring import Budget, release
from models import MEMORY_TARGET, dataset_without_images, make_plans, make_trainer
from step_tables import CountedGraphs, Way, failure, planner_of, stepper, trained_in
from torch import distributed as dist
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import spawn

MOST_MINUTES = 4.0
LONGEST_WAIT = timedelta(minutes=3)  # of one process for the other


class Steps(NamedTuple):
    """The seconds of a step, and what the table's cell of graphs says of it."""

    seconds: float
    graphs: str


def in_two_processes(name: str, *, compiled: bool, pairs: int, budget: Budget) -> list[str]:
    """Return what a trainer's step takes in two processes, each with a GPU of its own, against one process alone."""
    what = f"`{name}`{', compiled' if compiled else ''}, in two processes with a GPU each (nccl)"
    if torch.cuda.device_count() < 2:
        return [f"{what}: not measured, there are not two GPUs.", ""]
    own = budget.at_most(MOST_MINUTES)
    try:
        alone, together = _of_two_processes(name, compiled, pairs, own)
    except Exception as error:
        return [f"{what}: {failure(error, own)}.", ""]
    ratio = together.seconds / alone.seconds
    graphs = f" Graphs: {together.graphs}; alone: {alone.graphs}." if compiled else ""
    return [f"{what}: a step takes {ratio:.2f} of the time of a process alone, {alone.seconds:.3f} s.{graphs}", ""]


def _of_two_processes(name: str, compiled: bool, pairs: int, budget: Budget) -> tuple[Steps, Steps]:
    """Return a step alone and in two processes; what hangs is ended with the budget."""
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
    alone, together = queue.get()
    return alone, together


def _distributed(rank: int, name: str, compiled: bool, pairs: int, meeting: str, queue: Any) -> None:
    torch.cuda.set_device(rank)
    device = torch.device("cuda")
    with trained_in(Way("", (), compiled=compiled)), dataset_without_images() as preprocessed:
        plans = make_plans(planner_of(name), preprocessed, memory_target_gb=MEMORY_TARGET["cuda"])

        def steps() -> Steps:
            torch._dynamo.reset()
            step = CountedGraphs(stepper(make_trainer(name, plans, device)))
            seconds = statistics.median([step() for _ in range(pairs + 3)][3:])
            return Steps(seconds, step.cell())

        dist.init_process_group("nccl", init_method=meeting, rank=rank, world_size=2, timeout=LONGEST_WAIT)
        together = steps()  # nnU-Net's trainer finds that there are two processes, and wraps its network
        dist.destroy_process_group()
        release(device)
        if rank == 0:
            queue.put((steps(), together))
