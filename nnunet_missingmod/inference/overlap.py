"""Cases in three stages that overlap: one is read while another is in the network and a third is written.

``Predictor.predict_many`` and ``batch`` hand it the stages. Its threads spend their time in numpy, scipy, SimpleITK and
torch, which let others run meanwhile; unlike processes they start at once and share arrays without copying them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
Finished = TypeVar("Finished")


def overlapped(
    items: Iterable[Item],
    *,
    prepare: Callable[[Item], Prepared],
    run: Callable[[Prepared], Result],
    finish: Callable[[Result], Finished],
    preparing: int,
    finishing: int,
) -> Iterator[tuple[Item, Future[Finished]]]:
    """Yield each item with the future of what became of it, in the order of the items.

    At any time at most ``preparing`` items are prepared or being prepared, one is run, and ``finishing`` are being
    finished; the next one is not begun before there is room, so memory does not grow with the number of items.

    Args:
        items: are asked for one by one.
        prepare, finish: run in threads of their own.
        run: runs in the thread that iterates.
        preparing, finishing: 1 or more.

    Yields:
        ``(item, future)``; the future is done, and holds the exception of whichever stage failed.
    """
    remaining = iter(items)
    waiting: deque[tuple[Item, Future[Prepared]]] = deque()
    begun: deque[tuple[Item, Future[Finished]]] = deque()
    before = ThreadPoolExecutor(preparing, thread_name_prefix="prepare")
    after = ThreadPoolExecutor(finishing, thread_name_prefix="finish")

    def fill() -> None:
        while len(waiting) < preparing:
            try:
                item = next(remaining)
            except StopIteration:
                return
            waiting.append((item, before.submit(prepare, item)))

    try:
        fill()
        while waiting:
            item, prepared = waiting.popleft()
            begun.append((item, _run(run, prepared, finish, after, fill)))
            del prepared
            while begun and (len(begun) > finishing or begun[0][1].done()):
                yield _done(begun)
        while begun:
            yield _done(begun)
    finally:  # also if the caller stops early
        for pool in (before, after):
            pool.shutdown(wait=True, cancel_futures=True)


def _run(
    run: Callable[[Prepared], Result],
    prepared: Future[Prepared],
    finish: Callable[[Result], Finished],
    after: ThreadPoolExecutor,
    fill: Callable[[], None],
) -> Future[Finished]:
    """Run an item when it is prepared, the next ones being prepared meanwhile, and begin to finish it."""
    try:
        ready = prepared.result()
        fill()
        return after.submit(finish, run(ready))
    except Exception as error:
        fill()
        failed: Future[Finished] = Future()
        failed.set_exception(error)
        return failed


def _done(begun: deque[tuple[Item, Future[Finished]]]) -> tuple[Item, Future[Finished]]:
    item, future = begun.popleft()
    future.exception()  # waits
    return item, future
