"""Keys of the ``"missingmod"`` block that mean something to every trainer: defaults, accepted values, meanings.

Names land in plans JSON and are never renamed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_natural(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_weight(value: Any) -> bool:
    return is_number(value) and value >= 0


def one_of(*choices: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in choices


@dataclass(frozen=True)
class Key:
    """One key of the block.

    Attributes:
        default: used where neither the trainer class nor the block says otherwise; None keeps nnU-Net's own value.
        allowed: the accepted values in words, for messages and documentation.
        accepts: whether a value (never None) is accepted.
        meaning: one sentence for the documentation.
    """

    name: str
    default: Any
    allowed: str
    accepts: Callable[[Any], bool]
    meaning: str


TRAINING_KEYS: tuple[Key, ...] = (
    Key("num_epochs", None, "integer, at least 1", is_count, "Number of epochs (nnU-Net: 1000)."),
    Key("num_iterations_per_epoch", None, "integer, at least 1", is_count, "Training steps per epoch (nnU-Net: 250)."),
    Key(
        "num_val_iterations_per_epoch",
        None,
        "integer, at least 1",
        is_count,
        "Validation batches per epoch (nnU-Net: 50); `cycle` gives each batch the next subset.",
    ),
    Key("save_every", None, "integer, at least 1", is_count, "Epochs between two `checkpoint_latest` (nnU-Net: 50)."),
    Key("initial_lr", None, "number above 0", lambda v: is_number(v) and v > 0, "Learning rate (nnU-Net: 0.01)."),
    Key(
        "momentum",
        None,
        "number from 0 up to, not including, 1",
        lambda v: is_number(v) and 0 <= v < 1,
        "Of SGD (nnU-Net: 0.99, which needs many thousands of steps; 0.9 learns faster in short trainings).",
    ),
    Key("weight_decay", None, "number, at least 0", lambda v: is_number(v) and v >= 0, "Of SGD (nnU-Net: 3e-5)."),
    Key(
        "oversample_foreground_percent",
        None,
        "number from 0 to 1",
        lambda v: is_number(v) and 0 <= v <= 1,
        "Share of a batch's patches that are centred on foreground (nnU-Net: 0.33).",
    ),
    Key(
        "modality_dropout",
        "none",
        '"none", "uniform", "uniform_count" or "bernoulli"',
        one_of("none", "uniform", "uniform_count", "bernoulli"),
        "How the subset of a training case is drawn, from the modalities it has: uniformly over the non-empty subsets; "
        "first a uniform number of modalities, then a uniform subset of that size; or each modality kept by itself, "
        "conditioned on at least one.",
    ),
    Key(
        "modality_dropout_probability",
        0.5,
        "number from 0 up to, not including, 1",
        lambda v: is_number(v) and 0 <= v < 1,
        'Probability that `"bernoulli"` drops a modality.',
    ),
    Key(
        "modality_dropout_seed",
        0,
        "integer, at least 0",
        is_natural,
        "Seed of the subsets; with the epoch and the rank it determines every draw, so `--c` continues the sequence.",
    ),
    Key(
        "validation_subsets",
        "full",
        '"full" or "cycle"',
        one_of("full", "cycle"),
        "What the pseudo Dice and `checkpoint_best` are computed on: all modalities, or each batch the next of the "
        "2^J - 1 subsets.",
    ),
)

FILE_KEYS: tuple[Key, ...] = (
    Key(
        "blank_is_absent",
        True,
        "true or false",
        lambda v: isinstance(v, bool),
        "Whether a file whose voxels all have one value counts as absent (with a warning).",
    ),
    Key(
        "nonfinite",
        "refuse",
        '"refuse" or "zero"',
        one_of("refuse", "zero"),
        "What NaN or infinite voxels of a file do: refuse the case, or become 0 and be counted in its properties.",
    ),
    Key(
        "geometry_tolerance_voxels",
        0.1,
        "number, at least 0",
        lambda v: is_number(v) and v >= 0,
        "How far, in voxels, the corners of two modalities of a case may lie apart before the case is refused.",
    ),
)
