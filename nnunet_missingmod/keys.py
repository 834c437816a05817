"""What a key of the plans' ``"missingmod"`` block is, and what a loss term is that keys turn on.

``choices`` holds the keys and terms themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Choices = Mapping[str, Any]

# What has kinds is off with this one.
OFF = "none"


@dataclass(frozen=True)
class Range:
    """The accepted values of a key.

    Attributes:
        words: the values in words, for messages and documents.
        accepts: whether a value is accepted. It is never asked about None.
        values: the names of which the value is one, for keys that have such names.
    """

    words: str
    accepts: Callable[[Any], bool]
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Key:
    """One key of the ``"missingmod"`` block.

    Attributes:
        default: used where neither the trainer class nor the block says otherwise. None keeps nnU-Net's own value.
        range: the accepted values.
        meaning: one sentence for the documents.
        conflicts: what this choice contradicts, refused before anything is built: when, and what to set instead.
        idle: when the key does nothing, and the choice that makes it so; setting it is then refused.
    """

    name: str
    default: Any
    range: Range
    meaning: str
    conflicts: tuple[tuple[Callable[[Choices], bool], str], ...] = ()
    idle: tuple[Callable[[Choices], bool], str] | None = None

    @property
    def allowed(self) -> str:
        """The accepted values in words."""
        return self.range.words

    def accepts(self, value: Any) -> bool:
        """Return whether a value (never None) is accepted."""
        return self.range.accepts(value)


@dataclass(frozen=True)
class Term:
    """A term of the training loss beside the segmentation's.

    Attributes:
        switch: the key that turns it on; its kinds.
        weight: the key of its weight.
        loss: where its ``losses.term.StepTerm`` is, as ``module:class`` within ``nnunet_missingmod.losses``.
        kinds: those of the switch's values that turn it on; by default all but off.
        has_teacher: whether it learns from a frozen teacher under these choices.
        warms_up: whether ``distillation_warmup_epochs`` applies to it under these choices.
    """

    name: str
    switch: str
    weight: str
    loss: str
    kinds: tuple[str, ...] = ()
    has_teacher: Callable[[Choices], bool] = lambda _: False
    warms_up: Callable[[Choices], bool] = lambda _: False

    def is_on(self, choices: Choices) -> bool:
        """Return whether the choices use the term."""
        value = choices[self.switch]
        return value in self.kinds if self.kinds else value not in (OFF, False)


def is_none(switch: str) -> tuple[Callable[[Choices], bool], str]:
    """Return ``Key.idle`` of a key that does nothing while ``switch``, which has kinds, is off."""
    return (lambda c: bool(c[switch] == OFF), f'{switch} is "{OFF}"')


def is_false(switch: str) -> tuple[Callable[[Choices], bool], str]:
    """Return ``Key.idle`` of a key that does nothing while ``switch``, which has no kinds, is off."""
    return (lambda c: not c[switch], f"{switch} is false")


def _is_number(value: Any) -> bool:
    # By its size, because an integer of JSON may be too large to be asked whether it is finite.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_weights(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(WEIGHT.accepts, value)) and sum(value) > 0


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _are_orders(value: Any) -> bool:
    """Return whether it is what names are resolved to: for each channel the numbers of the others, in order."""
    return isinstance(value, list) and all(isinstance(row, list) and all(map(_is_integer, row)) for row in value)


def _are_probabilities(value: Any) -> bool:
    return isinstance(value, dict) and value != {} and all(map(BELOW_ONE.accepts, value.values()))


def _are_relative_weights(value: Any) -> bool:
    return isinstance(value, dict) and all(map(WEIGHT.accepts, value.values())) and any(value.values())


def one_of_or_probabilities(*values: str) -> Range:
    """Return the range of a key whose value is one of some names, or probabilities of modalities by their names."""
    quoted = ", ".join(f'"{value}"' for value in values)
    words = f'{quoted}, or {{"modality": probability below 1, ...}}'
    return Range(words, lambda value: value in values or _are_probabilities(value), values)


def one_of(*values: str) -> Range:
    """Return the range of a key whose value is one of some names."""
    quoted = [f'"{value}"' for value in values]
    words = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    return Range(words, lambda value: isinstance(value, str) and value in values, values)


COUNT = Range("integer, at least 1", lambda v: _is_integer(v) and v >= 1)
NATURAL = Range("integer, at least 0", lambda v: _is_integer(v) and v >= 0)
POSITIVE = Range("number above 0", lambda v: _is_number(v) and v > 0)
WEIGHT = Range("number, at least 0", lambda v: _is_number(v) and v >= 0)
BELOW_ONE = Range("number from 0 up to, not including, 1", lambda v: _is_number(v) and 0 <= v < 1)
POSITIVE_SHARE = Range("number above 0, up to 1", lambda v: _is_number(v) and 0 < v <= 1)
SHARE = Range("number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
SWITCH = Range("true or false", lambda v: isinstance(v, bool))
EXPONENT = Range("number above 0, not 1", lambda v: _is_number(v) and v > 0 and v != 1)
CHANNELS_OR_ALL = Range(
    '"all", or a list of channel names',
    lambda v: v == "all" or (isinstance(v, list) and v != [] and all(_is_integer(c) or isinstance(c, str) for c in v)),
)
CHANNEL_OR_AUTO = Range('channel name, or "auto"', lambda v: isinstance(v, str))
TEACHER = Range(
    '"auto", "average", the name of a trainer, or the path of a model folder', lambda v: isinstance(v, str) and v != ""
)
DECAY = Range('"auto", or a number from 0 up to, not including, 1', lambda v: v == "auto" or BELOW_ONE.accepts(v))
SUBSTITUTION = Range(
    '"learned", "brats", or {"modality": ["the first other", ...], ...}',
    lambda v: v in ("learned", "brats") or (isinstance(v, dict) and all(map(_are_names, v.values()))) or _are_orders(v),
)
SUBSET_WEIGHTS = Range(
    '"none", {"modality+modality": weight, ...}, or the path of a prevalence file',
    lambda v: _are_relative_weights(v) or (isinstance(v, str) and v.strip() != ""),
)
LEVEL_WEIGHTS = Range(
    '"depth", "deepest", or a list of numbers of at least 0, one per encoder level, shallowest first',
    lambda v: v in ("depth", "deepest") or _are_weights(v),
)
