"""Three stages that overlap: order, what runs meanwhile, how much is in memory, and errors of one item."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import Queue

import pytest

from nnunet_missingmod.inference.overlap import overlapped


def same(item: int) -> int:
    return item


def test_items_come_back_in_their_order_whatever_each_takes() -> None:
    def slow_if_even(item: int) -> int:
        time.sleep(0.03 * (item % 2 == 0))
        return item + 1

    found = overlapped(range(7), prepare=slow_if_even, run=same, finish=slow_if_even, preparing=3, finishing=3)
    assert [(item, future.result()) for item, future in found] == [(item, item + 2) for item in range(7)]
    assert list(overlapped([], prepare=same, run=same, finish=same, preparing=1, finishing=1)) == []


@pytest.mark.parametrize("stage", ["prepare", "run", "finish"])
def test_what_fails_is_in_the_future_and_stops_no_other(stage: str) -> None:
    def fail_at_one(item: int) -> int:
        if item == 1:
            raise KeyError(item)
        return item

    stages = {name: same for name in ("prepare", "run", "finish")} | {stage: fail_at_one}
    found = dict(overlapped(range(3), preparing=2, finishing=2, **stages))  # type: ignore[arg-type]
    assert isinstance(found[1].exception(), KeyError)
    assert (found[0].result(), found[2].result()) == (0, 2)


def test_the_next_is_prepared_and_the_last_finished_while_one_runs() -> None:
    prepared, finishing, release = threading.Event(), threading.Event(), threading.Event()

    def prepare(item: int) -> int:
        if item == 2:
            prepared.set()
        return item

    def run(item: int) -> int:
        if item == 1:  # what is waited for happens only if the other stages go on meanwhile
            assert prepared.wait(10)
            assert finishing.wait(10)
            release.set()
        return item

    def finish(item: int) -> int:
        if item == 0:
            finishing.set()
            assert release.wait(10)
        return item

    found = overlapped(range(3), prepare=prepare, run=run, finish=finish, preparing=1, finishing=2)
    assert [future.result() for _, future in found] == [0, 1, 2]


def test_run_stays_in_the_thread_that_iterates() -> None:
    threads = set()

    def run(item: int) -> int:
        threads.add(threading.get_ident())
        return item

    list(overlapped(range(3), prepare=same, run=run, finish=same, preparing=2, finishing=2))
    assert threads == {threading.get_ident()}


def test_no_more_are_begun_than_there_is_room_for() -> None:
    alive, most = 0, 0
    lock = threading.Lock()

    def prepare(item: int) -> int:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return item

    def finish(item: int) -> int:
        nonlocal alive
        time.sleep(0.005)
        with lock:
            alive -= 1
        return item

    list(overlapped(range(30), prepare=prepare, run=same, finish=finish, preparing=2, finishing=3))
    assert 1 < most <= 2 + 1 + 3


def test_items_are_asked_for_as_there_is_room_and_a_caller_may_stop() -> None:
    asked = []

    def endless() -> Iterator[int]:
        while True:
            asked.append(len(asked))
            yield asked[-1]

    found = overlapped(endless(), prepare=same, run=same, finish=same, preparing=2, finishing=1)
    assert next(found)[0] == 0
    found.close()  # type: ignore[attr-defined]
    assert len(asked) <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("prepare", "finish"))]


def test_an_item_that_is_waited_for_holds_up_none_before_it() -> None:
    queue: Queue[int | None] = Queue()
    found = overlapped(iter(queue.get, None), prepare=same, run=same, finish=same, preparing=3, finishing=3)
    for item in range(3):  # each comes only after the one before it was returned
        queue.put(item)
        assert next(found)[0] == item
    queue.put(None)
    assert list(found) == []


def test_what_the_items_raise_comes_after_those_before_it() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("no more")

    found = overlapped(items(), prepare=same, run=same, finish=same, preparing=2, finishing=2)
    assert next(found)[0] == 0
    with pytest.raises(ValueError, match="no more"):
        next(found)
