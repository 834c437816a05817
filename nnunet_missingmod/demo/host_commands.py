"""Run nnU-Net's own commands, each with a log file and a progress bar read from that log."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nnunet_missingmod.errors import FailedError

_POLL_S = 0.5
_LOG_TAIL_LINES = 15


class CommandError(FailedError):
    """A step of the demo failed; of a command, the message holds the end of its log and where all of it is."""


@dataclass(frozen=True)
class Command:
    """A command line and how to follow it.

    Attributes:
        title: what the progress bar says.
        argv: program and arguments.
        log: file that receives everything it prints; appended to.
        tick: regular expression; each match in the log is one step of progress.
        ticks: number of steps expected.
    """

    title: str
    argv: Sequence[str]
    log: Path
    tick: str
    ticks: int


def program(name: str) -> str:
    """Return the path of a command of this Python's environment.

    Raises:
        CommandError: it is not installed.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise CommandError(
            f"{name} is not found beside {sys.executable}. Run: {sys.executable} -m pip install nnunetv2"
        )
    return found


def run_command(command: Command, environment: Mapping[str, str]) -> None:
    """Run a command until it has ended; at Ctrl-C stop it and its workers.

    Raises:
        CommandError: it failed.
    """
    command.log.parent.mkdir(parents=True, exist_ok=True)
    with command.log.open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            command.argv,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,  # so that its workers are stopped with it
        )
    try:
        with tqdm(total=command.ticks, desc=command.title, mininterval=1, disable=None) as bar:
            while (code := process.poll()) is None:
                bar.update(min(_count_ticks(command, start), command.ticks) - bar.n)
                time.sleep(_POLL_S)
            if code == 0:
                bar.update(command.ticks - bar.n)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    if code:
        lines = command.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        shown = "\n".join(lines)
        raise CommandError(f"{command.title} failed (exit {code}). The whole log: {command.log}\n{shown}")


def _count_ticks(command: Command, start: int) -> int:
    with command.log.open("rb") as log:
        log.seek(start)
        return len(re.findall(command.tick.encode(), log.read()))
