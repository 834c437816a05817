"""Worker processes for the work before and after the network: reading, resampling and writing cases."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from types import TracebackType
from typing import Any, TypeVar

Result = TypeVar("Result")


class Workers:
    """Run functions in worker processes, or in this process if ``jobs`` is 1.

    If a worker is killed (usually because memory ran out), its pool is replaced by a new one, so that only the work in
    progress is lost.

    Args:
        jobs: the number of processes, 1 or more.
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
        """The number of functions that run at the same time."""
        return self._jobs

    def submit(self, function: Callable[..., Result], *args: Any) -> Future[Result]:
        """Start ``function`` in a worker; with one job, run it before returning."""
        if self._jobs == 1:
            return _run(function, args)
        try:
            return self._started().submit(function, *args)
        except (BrokenProcessPool, OSError):  # an OSError if it breaks while it starts another worker
            self._pool = None
            return self._started().submit(function, *args)

    def in_order(self, function: Callable[..., Result], each: Iterable[tuple[Any, ...]]) -> Iterator[Future[Result]]:
        """Yield the future of ``function`` for each tuple of arguments, in their order.

        A few are started ahead of the one that is waited for, so that a killed worker costs no others than these.
        """
        ahead: deque[Future[Result]] = deque()
        for arguments in each:
            ahead.append(self.submit(function, *arguments))
            if self._jobs == 1 or len(ahead) > 2 * self._jobs:
                yield ahead.popleft()
        yield from ahead

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Spawned, because a forked child of a process that uses CUDA or threads may hang.
            self._pool = ProcessPoolExecutor(self._jobs, mp_context=get_context("spawn"), initializer=_start_worker)
        return self._pool


def _start_worker() -> None:
    use_one_thread()
    end_with_parent()


def end_with_parent() -> None:
    """Let this worker end with the process that started it, which may be killed; an initializer of any pool.

    A worker of an executor would wait for work for ever, because it holds the other end of its queue, too.
    """
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def use_one_thread() -> None:
    """Limit a worker to one thread, because there may be as many workers as cores."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # the libraries read it when they are loaded; a spawned process does that later
    if "torch" in sys.modules:  # a script's main module, imported before this runs, may have imported torch
        sys.modules["torch"].set_num_threads(1)


def _run(function: Callable[..., Result], args: tuple[Any, ...]) -> Future[Result]:
    future: Future[Result] = Future()
    try:
        future.set_result(function(*args))
    except Exception as error:  # as in a pool, the future holds any exception of its function
        future.set_exception(error)
    return future
