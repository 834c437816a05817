"""Tables of what a training step takes, each of one way of training, with stock nnU-Net's step beside every trainer's.

What fails or is interrupted because the time is over is said in its row. ``gpu.py`` chooses the ways and the trainers.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from measuring import Budget, Ratio, compare, release, synchronised
from models import fresh, hooks_guarded, make_batch, make_trainer
from step_memory import OWN, REFERENCE, STOCK, WITH_OWN_PLANS
from torch._dynamo.utils import counters

from nnunet_missingmod.training.method_trainer import MethodTrainer

FAILED = "failed: "
COLUMNS = ("trainer", "s a step", "ratio to stock", "quartiles", "first step, s", "memory, GB", "graphs")


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


class CountedGraphs:
    """A function whose calls are counted by the graphs that torch compiles in them.

    Attributes:
        graphs: that were compiled.
        eager: how often torch gave up compiling what it called, and ran it as it is. Torch itself only logs it.
    """

    def __init__(self, call: Callable[[], float]) -> None:
        self._call = call
        self.graphs = self.eager = 0

    def __call__(self) -> float:
        graphs, eager = _counted()
        result = self._call()
        self.graphs += _counted()[0] - graphs
        self.eager += _counted()[1] - eager
        return result

    def cell(self) -> str:
        """Return a table's cell: how many graphs, and whether something ran without compilation."""
        return f"{self.graphs}, fell back to eager" if self.eager else str(self.graphs)


def _counted() -> tuple[int, int]:
    """Return how many graphs this process has compiled, and how many frames it could not."""
    frames = counters["frames"]
    return counters["stats"]["unique_graphs"], frames["total"] - frames["ok"]


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
            own = pinned(own)
        return synchronised(lambda: trainer.train_step(own), trainer.device)()

    return timed


def pinned(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch in pinned memory; its target is a tensor for each resolution, or one tensor."""
    target = batch["target"]
    one = isinstance(target, torch.Tensor)
    return {
        "data": batch["data"].pin_memory(),
        "target": target.pin_memory() if one else [each.pin_memory() for each in target],
    }


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


def failure(error: Exception, budget: Budget) -> str:
    """Return what a table says of an error, in one line.

    What ends when its budget is over was interrupted by that, whatever the error: a compiler that is at work then
    raises an error of its own.
    """
    if not budget.seconds():
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
    with trained_in(way), hooks_guarded():
        before = allocated_bytes(device)
        with budget.limit():
            torch._dynamo.reset()
            stock = CountedGraphs(stepper(make_trainer(REFERENCE, plans[STOCK], device), way.format))
            first = stock()
            seconds = statistics.median(stock() for _ in range(pairs))
            memory = peak_gigabytes(stock, device, before=before, steps=pairs)
        yield [f"`{REFERENCE}`", f"{seconds:.3f}", "", "", f"{first:.0f}", memory, stock.cell() if way.compiled else ""]
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
            # Torch counts what it compiles of one class together and stops at a limit, which a training must not meet
            # by other trainers' networks. Stock's is compiled again before the pairs that count, from torch's caches.
            torch._dynamo.reset()
            step = CountedGraphs(stepper(make_trainer(name, plans, device), way.format))
            first = step()
            ratio: Ratio = compare(stock, {name: step}, pairs=pairs, warmup=3)[name]
            memory = peak_gigabytes(step, device, before=before, steps=pairs)
    except Exception as error:  # out of memory, or whatever a compiler raises
        return [failure(error, budget), *[""] * (len(COLUMNS) - 2)]
    seconds = f"{ratio.median * ratio.reference:.3f}"
    return [seconds, *ratio.cells().split(" | "), f"{first:.0f}", memory, step.cell() if way.compiled else ""]


def table(
    way: Way, plans: Mapping[str, dict[str, Any]], device: torch.device, *, pairs: int, budget: Budget
) -> list[str]:
    """Return the lines of a way's table; if stock's step fails, a row says so and which trainers lack one."""
    rows: list[list[str]] = []
    try:
        rows.extend(rows_of(way, plans, device, pairs=min(pairs, way.most_pairs), budget=budget))
    except Exception as error:
        missing = (REFERENCE, *way.trainers)[len(rows) :]
        names = ", ".join(f"`{name}`" for name in missing)
        rows.append([names, failure(error, budget), *[""] * (len(COLUMNS) - 2)])
    release(device)
    return [
        f"Training steps, {way.name}:",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| --- |{' --: |' * (len(COLUMNS) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
