"""Settings of the whole process that nnU-Net changes while it predicts, put back afterwards.

``Predictor`` predicts within them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nnunet_missingmod.inference.model_folder import CUDNN_LOCK


@contextmanager
def threads_restored() -> Iterator[None]:
    """Restore torch's number of threads, which nnU-Net does not after an error."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class TimedAlgorithms:
    """Lets cuDNN choose its algorithms by timing, as nnU-Net does, while any thread of the process predicts."""

    def __init__(self) -> None:
        self._users = 0
        self._before = False

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have it so in the block; the last one to leave its block sets it back."""
        with CUDNN_LOCK:
            if not self._users:
                self._before = torch.backends.cudnn.benchmark
                torch.backends.cudnn.benchmark = True
            self._users += 1
        try:
            yield
        finally:
            with CUDNN_LOCK:
                self._users -= 1
                if not self._users:
                    torch.backends.cudnn.benchmark = self._before


TIMED_ALGORITHMS = TimedAlgorithms()
