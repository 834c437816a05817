"""Checks ahead of the predictions: real processes, what is begun is left out, the end is not waited for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from nnunet_missingmod.cases.files import CaseFiles
from nnunet_missingmod.cases.preflight import CaseCheck
from nnunet_missingmod.inference.check_ahead import CheckAhead

CASES = [CaseFiles(f"c{number}", {}) for number in range(6)]


def find(case: CaseFiles, *, folder: Path, bad: str) -> CaseCheck:
    (folder / case.case).write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))
    return CaseCheck(case, problems=("is bad.",) if case.case == bad else ())


def fail_at_c1(case: CaseFiles, *, folder: Path) -> CaseCheck:
    if case.case == "c1":
        raise MemoryError("Unable to allocate 9 GiB")
    return find(case, folder=folder, bad="c4")


def sleep_long(case: CaseFiles) -> CaseCheck:
    time.sleep(600)
    return CaseCheck(case)


def kill_itself(case: CaseFiles) -> CaseCheck:
    os.kill(os.getpid(), signal.SIGKILL)
    return CaseCheck(case)


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert true()


def test_what_is_bad_is_told_once_and_kept_for_its_turn(tmp_path: Path) -> None:
    said: list[str] = []
    with CheckAhead(CASES, partial(find, folder=tmp_path, bad="c4"), report=said.append) as ahead:
        wait_until(lambda: (tmp_path / "c5").exists() and bool(said))
        assert ahead.take(CASES[4]) is True
        assert ahead.take(CASES[3]) is False
    assert said == ["c4, whose turn comes later, cannot be used. is bad."]
    # As little of the processors as there is, whatever the tests themselves have.
    assert (tmp_path / "c0").read_text() == str(min(19, os.getpriority(os.PRIO_PROCESS, 0) + 19))


def test_a_case_whose_turn_has_come_is_not_checked(tmp_path: Path) -> None:
    said: list[str] = []
    with CheckAhead(CASES, partial(find, folder=tmp_path, bad="c4"), report=said.append) as ahead:
        ahead.take(CASES[4])
        wait_until(lambda: (tmp_path / "c5").exists())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c0", "c1", "c2", "c3", "c5"]
    assert said == []


def test_a_case_that_could_not_be_checked_does_not_end_the_checks(tmp_path: Path) -> None:
    said: list[str] = []
    with CheckAhead(CASES, partial(fail_at_c1, folder=tmp_path), report=said.append) as ahead:
        wait_until(lambda: (tmp_path / "c5").exists() and bool(said))
        assert ahead.take(CASES[1]) is False
    assert said == ["c4, whose turn comes later, cannot be used. is bad."]


@pytest.mark.parametrize("check", [sleep_long, kill_itself])
def test_the_end_is_not_held_up(check: Callable[[CaseFiles], CaseCheck]) -> None:
    with CheckAhead(CASES, check, report=print) as ahead:
        time.sleep(1)
        started = time.monotonic()
        assert ahead.take(CASES[0]) is False
    assert time.monotonic() - started < 10


def test_where_no_process_can_be_started_none_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_semaphores(*_: object) -> object:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(multiprocessing.get_context("spawn"), "SimpleQueue", no_semaphores)
    monkeypatch.setattr(multiprocessing.get_context("spawn"), "Lock", no_semaphores)
    with CheckAhead(CASES, partial(find, folder=tmp_path, bad="c0"), report=print) as ahead:
        time.sleep(0.5)
        assert ahead.take(CASES[0]) is False
    assert not list(tmp_path.iterdir())


def test_few_cases_are_not_worth_a_process(tmp_path: Path) -> None:
    with CheckAhead(CASES[:3], partial(find, folder=tmp_path, bad="c0"), report=print) as ahead:
        time.sleep(0.2)
        assert ahead.take(CASES[0]) is False
    assert not list(tmp_path.iterdir())
