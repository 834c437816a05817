"""What the benchmarks share: time taken in pairs, ratios with their spread, and the name of the device."""

from __future__ import annotations

import platform
import statistics
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch


class Ratio(NamedTuple):
    """Ratio to the reference: quartiles over pairs, and the reference's median."""

    low: float
    median: float
    high: float
    reference: float
    pairs: int

    def cells(self) -> str:
        """Return a table's two cells: the median, and the quartiles."""
        return f"{self.median:.3f} | {self.low:.3f} to {self.high:.3f}"


def synchronised(run: Callable[[], object], device: torch.device) -> Callable[[], float]:
    """Return a function that runs ``run`` and returns its seconds, the device's work included."""

    def timed() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    return timed


def compare(
    reference: Callable[[], float], others: Mapping[str, Callable[[], float]], *, pairs: int, warmup: int = 1
) -> dict[str, Ratio]:
    """Return {name: ratio of each to the reference}.

    Every round takes the reference and each of the others once, in an order that turns round by round, so that a drift
    of the machine's speed favours none.
    """
    names = ["", *others]
    runs = {"": reference, **others}
    rounds: list[dict[str, float]] = []
    for number in range(warmup + pairs):
        turn = number % len(names)
        values = {name: runs[name]() for name in names[turn:] + names[:turn]}
        if number >= warmup:
            rounds.append(values)
    return {
        name: _ratio([values[name] / values[""] for values in rounds], [values[""] for values in rounds])
        for name in others
    }


def _ratio(ratios: Sequence[float], references: Sequence[float]) -> Ratio:
    low, median, high = statistics.quantiles(ratios, n=4)
    return Ratio(low, median, high, statistics.median(references), len(ratios))


def device_parser(description: str | None, targets: Mapping[str, float], *, pairs: int | None) -> ArgumentParser:
    """Return a parser with the options that the scripts on networks share.

    Args:
        description: the script's docstring.
        targets: {kind of device: GB that the networks are planned for by default}.
        pairs: how many are timed by default; None for a script that times nothing.
    """
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    best = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=tuple(targets), default=best)
    if pairs is not None:
        parser.add_argument("--pairs", type=int, default=pairs)
    parser.add_argument("--memory-target", type=float, help="GB; smaller gives smaller networks and patches")
    return parser


def device_name(device: torch.device) -> str:
    """Return what the device is called, and with which torch and how many threads it was used."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = named[0] if named else model
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"
