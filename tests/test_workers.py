"""Workers run what they are given, and outlive a worker that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from nnunet_missingmod.workers import Workers


def test_one_job_runs_here_and_at_once():
    seen = []
    with Workers(1) as workers:
        future = workers.submit(seen.append, 3)
        assert seen == [3]
        assert future.done()
        assert workers.submit(os.getpid).result() == os.getpid()


def test_with_one_job_an_error_waits_in_the_future():
    with Workers(1) as workers:
        future = workers.submit(int, "no number")
    with pytest.raises(ValueError, match="no number"):
        future.result()


def test_with_one_job_each_is_run_when_it_is_waited_for():
    seen = []
    with Workers(1) as workers:
        for number, future in enumerate(workers.in_order(seen.append, [(0,), (1,), (2,)])):
            assert future.done()
            assert seen == list(range(number + 1))


@pytest.mark.slow
def test_results_come_in_order_and_a_killed_worker_costs_a_few_only():
    with Workers(2) as workers:
        assert [future.result() for future in workers.in_order(abs, ((-n,) for n in range(9)))] == list(range(9))
        signals = [(os.getpid(), 0)] * 30
        elsewhere = workers.submit(os.getpid).result()
        signals[1] = (elsewhere, signal.SIGKILL)
        failed = [future.exception() for future in workers.in_order(os.kill, signals)]
        assert 1 <= sum(error is not None for error in failed) <= 8


@pytest.mark.slow
def test_a_killed_worker_costs_only_what_was_in_flight():
    with Workers(2) as workers:
        elsewhere = workers.submit(os.getpid).result()
        assert elsewhere != os.getpid()
        in_flight = workers.submit(signal.pause)
        os.kill(elsewhere, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            in_flight.result()
        assert workers.submit(abs, -3).result() == 3


@pytest.mark.slow
def test_a_pool_that_breaks_while_it_starts_a_worker_is_replaced(monkeypatch):
    with Workers(2) as workers:
        first = workers.submit(os.getpid).result()

        def closed() -> None:
            raise OSError("handle is closed")

        monkeypatch.setattr(workers._pool, "_adjust_process_count", closed)
        second = workers.submit(os.getpid).result()
        assert second not in (first, os.getpid())


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them_if_it_is_killed():
    script = (
        "import os, signal\n"
        "from nnunet_missingmod.workers import Workers\n"
        "if __name__ == '__main__':\n"
        "    with Workers(2) as workers:\n"
        "        print(workers.submit(os.getpid).result(), flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
    assert parent.returncode == -signal.SIGKILL
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists() or "Z (zombie)" in Path(f"/proc/{worker}/status").read_text():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlives its parent")
