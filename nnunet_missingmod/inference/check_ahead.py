"""Reads the files of the cases whose turn has not come, so that unusable ones are known early.

``batch`` runs it beside the predictions. It decides nothing: every case is checked when its turn comes, those that it
found bad once more, for their files may have been mended meanwhile.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from threading import Lock, Thread
from types import TracebackType
from typing import TypeAlias

from nnunet_missingmod.cases.files import CaseFiles
from nnunet_missingmod.cases.preflight import CaseCheck, check_case
from nnunet_missingmod.inference.predictor import Predictor
from nnunet_missingmod.workers import use_one_thread

logger = logging.getLogger(__name__)

Check: TypeAlias = Callable[[CaseFiles], CaseCheck]

# Starting a process takes as long as reading a few cases.
_FEWEST_CASES = 4
# How often the end of the predictions is looked for.
_PATIENCE_S = 0.1


class CheckAhead:
    """Checks cases in a process of lowest priority while the block runs.

    Args:
        cases: those to check, in the order of their turns; of few, none is.
        check: see ``preflight.check_case``; it must be picklable.
        report: is called with a line on each case that cannot be used.
    """

    def __init__(self, cases: Sequence[CaseFiles], check: Check, *, report: Callable[[str], object]) -> None:
        self._cases = cases if len(cases) >= _FEWEST_CASES else ()
        self._check = check
        self._report = report
        self._lock = Lock()
        self._begun: set[str] = set()
        self._suspected: set[str] = set()
        self._ended = False
        self._thread = Thread(target=self._check_all, name="check ahead", daemon=True)

    def __enter__(self) -> CheckAhead:
        if self._cases:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = True
        if self._cases:
            self._thread.join()

    def take(self, case: CaseFiles) -> bool:
        """Return whether a case, whose turn it is now, was found to be bad; it is not checked ahead any more."""
        with self._lock:
            self._begun.add(case.case)
            return case.case in self._suspected

    def _check_all(self) -> None:
        try:
            # A pool that can be terminated: nobody waits for a check that is no longer wanted.
            pool = get_context("spawn").Pool(1, initializer=_yield_to_others)
        except (OSError, ImportError) as error:  # a container without /dev/shm has no semaphores
            logger.debug("No files are checked ahead: %s", error)
            return
        with pool:
            for case in self._cases:
                if case.case in self._begun:
                    continue
                asked = pool.apply_async(self._check, (case,))
                # One that is killed, perhaps for memory, never answers: the cases are checked when they are read.
                while not asked.ready():
                    if self._ended:
                        return
                    asked.wait(_PATIENCE_S)
                try:
                    problems = asked.get().problems
                except Exception:  # out of memory, say: the next case may still be checked
                    logger.debug("Case %r could not be checked ahead", case.case, exc_info=True)
                    continue
                if problems:
                    self._note(case, problems)

    def _note(self, case: CaseFiles, problems: tuple[str, ...]) -> None:
        with self._lock:
            if case.case in self._begun or self._ended:
                return
            self._suspected.add(case.case)
        self._report(f"{case.case}, whose turn comes later, cannot be used. {' '.join(problems)}")


def check_of(predictor: Predictor) -> Check:
    """Return the check of the cases that a model predicts; it can be pickled and holds no weights."""
    model = predictor.model
    return partial(
        check_case,
        names=predictor.modalities,
        reader=predictor.reader,
        choices=predictor.choices,
        file_ending=model.file_ending,
        labels=model.label_manager.all_labels,
        volumes_only=len(model.configuration_manager.patch_size) == 3,
        used=model.trained_on,
    )


def _yield_to_others() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that predicts ends this one
    use_one_thread()
    if hasattr(os, "nice"):
        os.nice(19)
