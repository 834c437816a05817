"""Cases in three stages that overlap: one is read while another is in the network and a third is written.

``Predictor.predict_many`` and ``batch`` hand it the stages. Its threads spend their time in numpy, scipy, SimpleITK and
torch, which let others run meanwhile; unlike processes they start at once and share arrays without copying them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Any, Generic, TypeVar

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
    finished; the next one is not begun before there is room, so memory does not grow with the number of items. While
    an item is waited for (``items`` may come from a queue), those before it go on and are yielded.

    Args:
        items: are asked for one by one, in a thread.
        prepare, finish: run in threads of their own.
        run: runs in the thread that iterates.
        preparing, finishing: 1 or more.

    Yields:
        ``(item, future)``; the future is done, and holds the exception of whichever stage failed.

    Raises:
        BaseException: what ``items`` raised, after the items before it.
    """
    begun: deque[tuple[Item, Future[Finished]]] = deque()
    before = ThreadPoolExecutor(preparing, thread_name_prefix="prepare")
    after = ThreadPoolExecutor(finishing, thread_name_prefix="finish")
    feed = _Feed(items, lambda item: before.submit(prepare, item), ahead=preparing)
    try:
        while True:
            if begun and (len(begun) > finishing or begun[0][1].done()):
                item, finished = begun.popleft()
                finished.exception()  # waits
                yield item, finished
            elif feed.is_ready():
                item, prepared = feed.take()
                begun.append((item, _run(run, prepared, finish, after)))
                begun[-1][1].add_done_callback(feed.wake)
                del prepared
            elif feed.has_ended() and not begun:
                break
            else:
                feed.wait()
        if feed.error is not None:
            raise feed.error
    finally:  # also if the caller stops early
        feed.stop()
        for pool in (before, after):
            pool.shutdown(wait=True, cancel_futures=True)


class _Feed(Generic[Item, Prepared]):
    """Asks for items while there is room and lets them be prepared; a thread that may wait for ever in ``items``."""

    def __init__(self, items: Iterable[Item], submit: Callable[[Item], Future[Prepared]], *, ahead: int) -> None:
        self.error: BaseException | None = None
        self._items = items
        self._submit = submit
        self._room = Semaphore(ahead)
        self._waiting: deque[tuple[Item, Future[Prepared]]] = deque()
        self._woken: SimpleQueue[None] = SimpleQueue()
        self._ended = self._stopped = False
        Thread(target=self._ask, name="feed", daemon=True).start()

    def _ask(self) -> None:
        try:
            remaining = iter(self._items)
            while True:
                self._room.acquire()
                if self._stopped:
                    return
                item = next(remaining)
                if self._stopped:
                    return
                future = self._submit(item)
                self._waiting.append((item, future))
                future.add_done_callback(self.wake)
        except StopIteration:
            pass
        except BaseException as error:  # SystemExit too, of which a thread says nothing
            self.error = error
        finally:
            self._ended = True
            self.wake()

    def is_ready(self) -> bool:
        """Whether the next item is prepared, or has failed to be."""
        return bool(self._waiting) and self._waiting[0][1].done()

    def has_ended(self) -> bool:
        """Whether no item comes any more."""
        return self._ended and not self._waiting

    def take(self) -> tuple[Item, Future[Prepared]]:
        """Return the next item, and make room for another one."""
        taken = self._waiting.popleft()
        self._room.release()
        return taken

    def wake(self, _of: Any = None) -> None:
        """Let ``wait`` return: something has changed."""
        self._woken.put(None)

    def wait(self) -> None:
        """Wait until something has changed."""
        self._woken.get()

    def stop(self) -> None:
        """Ask for no more items."""
        self._stopped = True
        self._room.release()


def _run(
    run: Callable[[Prepared], Result],
    prepared: Future[Prepared],
    finish: Callable[[Result], Finished],
    after: ThreadPoolExecutor,
) -> Future[Finished]:
    """Run an item and begin to finish it."""
    try:
        return after.submit(finish, run(prepared.result()))
    except Exception as error:
        failed: Future[Finished] = Future()
        failed.set_exception(error)
        return failed
