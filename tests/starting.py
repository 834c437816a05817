"""Start a trainer as nnU-Net's loop does, with every random generator seeded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def start(trainer: Any, *, seed: int = 0) -> Any:
    """Return the trainer at the beginning of its first epoch."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the host's loader and transforms draw from the global generator
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    return trainer
