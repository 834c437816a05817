"""Worker processes for what happens before and after the network: reading, resampling, writing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from types import TracebackType
from typing import Any, TypeVar

Result = TypeVar("Result")


class Workers:
    """Run functions in so many processes; with one job, in this process and at once.

    A pool whose worker was killed (most often for want of memory) is replaced, so that only the work in flight is lost.

    Args:
        jobs: 1 or more.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=kind is not None)

    @property
    def at_once(self) -> int:
        """How many functions run at the same time."""
        return self._jobs

    def submit(self, function: Callable[..., Result], *args: Any) -> Future[Result]:
        """Start ``function`` in a worker; with one job it has run when this returns."""
        if self._jobs == 1:
            return _run(function, args)
        try:
            return self._started().submit(function, *args)
        except BrokenProcessPool:
            self._pool = None
            return self._started().submit(function, *args)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Spawned: a forked child of a process that uses CUDA or threads may hang.
            self._pool = ProcessPoolExecutor(self._jobs, mp_context=get_context("spawn"), initializer=_use_one_thread)
        return self._pool


def _use_one_thread() -> None:
    """Keep a worker to one thread: as many of them run beside each other as there are cores."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # read when the libraries are loaded, which in a spawned process is after this
    if "torch" in sys.modules:  # the main module of a script is imported before this, and torch with it
        sys.modules["torch"].set_num_threads(1)


def _run(function: Callable[..., Result], args: tuple[Any, ...]) -> Future[Result]:
    future: Future[Result] = Future()
    try:
        future.set_result(function(*args))
    except Exception as error:  # a future holds whatever its function raises
        future.set_exception(error)
    return future
