"""What the benchmarks share: time taken in pairs, ratios with their spread, and the name of the device."""

from __future__ import annotations

import gc
import os
import platform
import signal
import statistics
import subprocess
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

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
    """Return {name: ratio of each to the reference}; see ``in_rounds``."""
    rounds = in_rounds({"": reference, **others}, number=pairs, warmup=warmup)
    return {name: ratio(rounds, name, "") for name in others}


Rounds = Sequence[Mapping[str, float]]


def in_rounds(runs: Mapping[str, Callable[[], float]], *, number: int, warmup: int = 1) -> Rounds:
    """Return the seconds of each run by round.

    Every round takes each once, in an order that turns round by round, so that a drift of the machine's speed favours
    none.
    """
    names = list(runs)
    rounds: list[dict[str, float]] = []
    for count in range(warmup + number):
        turn = count % len(names)
        values = {name: runs[name]() for name in names[turn:] + names[:turn]}
        if count >= warmup:
            rounds.append(values)
    return rounds


def ratio(rounds: Rounds, name: str, reference: str) -> Ratio:
    """Return the ratio of one run to another within each round."""
    low, median, high = statistics.quantiles([values[name] / values[reference] for values in rounds], n=4)
    return Ratio(low, median, high, statistics.median(values[reference] for values in rounds), len(rounds))


# Rare enough that what the error passes through, to its end, is not interrupted once more.
AGAIN_SECONDS = 5.0


class Budget:
    """Minutes from now on, within which measurements may begin and end."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    def seconds(self) -> float:
        """Return how many are left, 0 when it is over."""
        return max(0.0, self._end - time.monotonic())

    def at_most(self, minutes: float) -> Budget:
        """Return a budget of so many minutes from now on, which ends with this one."""
        return Budget(min(minutes, self.seconds() / 60))

    @contextmanager
    def limit(self) -> Iterator[None]:
        """Inside, raise TimeoutError when the budget is over; at once if it is over already.

        What catches the error inside and goes on gets it again: a compiler, which has another way if one fails.
        """
        if not self.seconds():
            raise TimeoutError

        def stop(*_signal: object) -> None:
            raise TimeoutError

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, self.seconds() or 1e-6, AGAIN_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


@contextmanager
def own_session(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a session of its own; what of this still runs at the end is ended.

    Args:
        options: of ``subprocess.Popen``.
    """
    process = subprocess.Popen(command, text=True, start_new_session=True, **options)
    try:
        yield process
    finally:
        end_session(process)
        process.wait()


def end_session(process: subprocess.Popen[str]) -> None:
    """End a process that leads a session, and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def mixed_precision(device: torch.device) -> torch.autocast:
    """Return what nnU-Net's networks run in: half precision on a GPU, float32 elsewhere."""
    return torch.autocast(device.type, enabled=device.type == "cuda")


def release(device: torch.device) -> None:
    """Give memory back that nothing uses any more, a GPU's to the GPU: what is measured next begins without it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def exit_code(kept: bool, device: torch.device) -> int:
    """Return a script's exit code: 1 if a limit is exceeded, on a CPU; what a GPU keeps has not been measured."""
    return int(not kept and device.type != "cuda")


def cell(number: float | None) -> str:
    """Return a table's cell: a limit, or nothing where there is none."""
    return "" if number is None else str(number)


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
