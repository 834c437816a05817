"""Cases are checked in their order, by as many processes as asked for, and a killed one costs none of them."""

from __future__ import annotations

import multiprocessing.process
import os
import signal
from functools import partial
from pathlib import Path

from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_missingmod.cases.files import CaseFiles, find_cases
from nnunet_missingmod.cases.preflight import CaseCheck, check_case, check_cases
from nnunet_missingmod.plans_block import resolve

NAMES = ("FLAIR", "T1", "T1ce", "T2")


def kill_whoever_checks(parent: int, case: CaseFiles) -> CaseCheck:
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return CaseCheck(case)


def test_several_processes_find_what_one_finds(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=4)
    tiny.image("case_001", 2).write_bytes(b"")
    tiny.image("case_002", 0).unlink()
    cases = find_cases(tiny.raw / "imagesTr", NAMES, ".nii.gz")
    check = partial(check_case, names=NAMES, reader=SimpleITKIO(), file_ending=".nii.gz", choices=resolve(None))
    alone, together = (list(check_cases(cases, check, processes=number)) for number in (1, 2))
    assert [found.case.case for found in alone] == tiny.cases
    assert [(found.case, found.present, found.problems) for found in alone] == [
        (found.case, found.present, found.problems) for found in together
    ]
    assert [bool(found.problems) for found in alone] == [False, True, False, False]


def test_one_process_starts_no_other(monkeypatch):
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", None)
    cases = [CaseFiles(name, {0: Path(name)}) for name in "abc"]
    assert [found.case for found in check_cases(cases, CaseCheck)] == cases


def test_case_whose_process_was_killed_is_checked_here():
    cases = [CaseFiles(name, {}) for name in "abc"]
    found = list(check_cases(cases, partial(kill_whoever_checks, os.getpid()), processes=2))
    assert [check.case for check in found] == cases
