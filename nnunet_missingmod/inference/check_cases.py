"""The preflight of many cases, in one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm

from nnunet_missingmod.inference.preflight import CaseCheck, CaseFiles
from nnunet_missingmod.inference.workers import Workers


def check_cases(
    cases: Sequence[CaseFiles], check: Callable[[CaseFiles], CaseCheck], *, processes: int = 1
) -> Iterator[CaseCheck]:
    """Yield what ``check`` finds out about each case, in their order, with a progress bar.

    Args:
        check: ``check_case`` with all but the case bound; what a worker process can be sent, if there are several.
        processes: how many; with 1 no other is started. A case whose process was killed is checked in this one.
    """
    bar = tqdm(total=len(cases), desc="checking files", disable=None)
    with bar, Workers(processes) as workers:
        if processes == 1:
            for case in cases:
                yield check(case)
                bar.update()
            return
        futures = [workers.submit(check, case) for case in cases]
        for case, future in zip(cases, futures, strict=True):
            try:
                found = future.result()
            except BrokenProcessPool:
                found = check(case)
            yield found
            bar.update()
