"""A case between the stages of its prediction, as ``Predictor`` hands it from one to the next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nnunet_missingmod.cases.memory import MemoryImage
from nnunet_missingmod.evaluation.agreement import CroppedLabels


class PreparedCase(NamedTuple):
    """A case as the network takes it.

    Attributes:
        case, files: its name, and {channel: file}.
        data: (J + E, *spatial), absent channels marked; a cascade's labels of the previous stage one-hot behind.
        properties: of the first file, as nnU-Net's reader and preprocessor left them.
    """

    case: str
    files: Mapping[int, Path | MemoryImage]
    data: torch.Tensor
    properties: dict[str, Any]


class InferredCase(NamedTuple):
    """A case as the network returned it.

    Attributes:
        logits: (K, *spatial), on the grid of the preprocessed case.
        of_folds: the label map of each fold there, if they are noted.
    """

    case: str
    files: Mapping[int, Path | MemoryImage]
    logits: torch.Tensor
    properties: dict[str, Any]
    of_folds: tuple[CroppedLabels, ...]
