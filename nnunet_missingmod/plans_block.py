"""The ``"missingmod"`` block of a configuration in nnU-Net's plans JSON: what it resolves to and what is refused.

A trainer's class attributes are the defaults, the block overrides them, and the resolved choices are written into the
model folder's plans.json. The keys are in ``choices``; plans/README.md documents them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nnunet_missingmod.choices import (
    COMMON_KEYS,
    KEYS,
    MASKING_KEYS,
    METHOD_KEYS,
)
from nnunet_missingmod.keys import OFF, Key
from nnunet_missingmod.modalities import MOST_SUBSETS, Subset, by_size, choose_channel, choose_subset, subset_name
from nnunet_missingmod.network_choices import BRATS_SUBSTITUTION, NETWORK_KEYS

__all__ = [
    "BLOCK",
    "COMMON_KEYS",
    "KEYS",
    "KEYS_OF_METHODS",
    "PRETRAINING_KEYS",
    "anchor_modality",
    "block_of",
    "check_choices",
    "describe",
    "differences",
    "drop_probabilities",
    "resolve",
    "subset_channels",
    "subset_weights",
    "substitution_order",
    "with_names",
    "with_numbers",
]

BLOCK = "missingmod"

# What trainers of methods use, and masked pretraining.
KEYS_OF_METHODS: tuple[Key, ...] = COMMON_KEYS + METHOD_KEYS
PRETRAINING_KEYS = (
    *COMMON_KEYS,
    *(key for key in METHOD_KEYS if key in NETWORK_KEYS or key.name == "optimizer_kind"),
    *MASKING_KEYS,
)

_KEY_BY_NAME = {key.name: key for key in KEYS}
_MOST_SHOWN = 8
_OF_THE_PLANS = f'"{BLOCK}" block of the plans:'
# Every configuration of nnU-Net has one of these keys, and no block has.
_OF_CONFIGURATIONS = {"inherits_from", "preprocessor_name"}


def block_of(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> Any:
    """Return the block of a configuration for ``resolve``, or None.

    Args:
        plans: all of nnU-Net's plans.
        configuration: one of their configurations, with what it inherits.

    Raises:
        ValueError: a block or a key of it lies where nothing reads it, or a block is called otherwise.
    """
    others = {
        name
        for name, value in plans["configurations"].items()
        if not (isinstance(value, Mapping) and _OF_CONFIGURATIONS & value.keys())
    }
    _refuse_misplaced(plans, "at their top")
    _refuse_misplaced(sorted(others), 'directly under "configurations"')
    _refuse_misplaced([name for name in configuration if name != BLOCK], "directly in a configuration")
    _refuse_misplaced(configuration.get("architecture") or {}, 'in "architecture"')
    return configuration.get(BLOCK)


def _refuse_misplaced(names: Iterable[str], place: str) -> None:
    for name in names:
        is_block = BLOCK in re.sub("[^a-z]", "", name.lower())
        if is_block or name in _KEY_BY_NAME:
            nested = "{...}" if is_block else f'{{"{name}": ...}}'
            raise ValueError(
                f'The plans have "{name}" {place}, where nothing reads it. Move it: '
                f'"configurations": {{"3d_fullres": {{..., "{BLOCK}": {nested}}}}}.'
            )


def resolve(
    block: Mapping[str, Any] | None, defaults: Mapping[str, Any] | None = None, *, keys: Sequence[Key] = KEYS
) -> dict[str, Any]:
    """Return a value for each of ``keys``: the block's, else the given default, else the key's own default.

    A key of the block that is known but not among ``keys`` is left out: trainers that do not use it share plans with
    those that do.

    Raises:
        ValueError: the block is no mapping, a key is unknown (the message names the nearest known one), or a value is
            not accepted.
    """
    resolved = {}
    if block is not None and not isinstance(block, Mapping):
        raise ValueError(f'"{BLOCK}" of the plans must be an object {{"key": value}}, got {block!r}.')
    _refuse_unknown(block or {})
    for key in keys:
        value = (defaults or {}).get(key.name, key.default)
        value = (block or {}).get(key.name, value)
        if value is not None and not key.accepts(value):
            raise ValueError(f"{_OF_THE_PLANS} {key.name} must be {key.allowed}, got {value!r}.")
        if value is None and key.default is not None:
            raise ValueError(f"{_OF_THE_PLANS} {key.name} must be {key.allowed}, got null.")
        resolved[key.name] = value
    return resolved


def check_choices(
    choices: Mapping[str, Any],
    modality_names: Sequence[str],
    defaults: Mapping[str, Any] | None = None,
    *,
    keys: Sequence[Key] = KEYS,
) -> None:
    """Refuse choices that contradict one another or do nothing, before anything is built.

    Args:
        choices: a value for each of ``keys``.
        modality_names: in channel order.
        defaults: the trainer's own values, as for ``resolve``; a key that has its own value was not set.
        keys: those that the trainer uses.

    Raises:
        ValueError: names the choices and what to set.
    """
    for key in keys:
        for contradicts, message in key.conflicts:
            if contradicts(choices):
                raise ValueError(f"{_OF_THE_PLANS} {message}")
        own = (defaults or {}).get(key.name, key.default)
        if key.idle is not None and choices[key.name] != own and key.idle[0](choices):
            raise ValueError(f"{_OF_THE_PLANS} {key.name} does nothing, because {key.idle[1]}: leave it out.")
    _refuse_two_patterns(choices, (defaults or {}).get("modality_dropout", OFF))
    if "subset_objective" not in choices:
        return
    number = 2 ** len(modality_names) - 1
    if choices["subset_objective"] == "enumerate" and number > MOST_SUBSETS:
        raise ValueError(
            f'{_OF_THE_PLANS} subset_objective "enumerate" would train on {number:,} subsets in each step: set it to '
            '"sample", and modality_dropout to "uniform".'
        )
    anchor_modality(choices, modality_names)


def anchor_modality(choices: Mapping[str, Any], modality_names: Sequence[str]) -> str:
    """Return the anchor modality's name; ``"auto"`` is FLAIR where there is one, else the first channel.

    FLAIR is the choice of Liu et al. (MedMAP) for BraTS.

    Raises:
        ValueError: there is no such channel.
    """
    chosen: str = choices["anchor_modality"]
    if chosen == "auto":
        return next((name for name in modality_names if "flair" in name.lower()), modality_names[0])
    if chosen not in modality_names:
        raise ValueError(f"{_OF_THE_PLANS} anchor_modality must be one of {', '.join(modality_names)}, got {chosen!r}.")
    return chosen


def _refuse_two_patterns(choices: Mapping[str, Any], own_dropout: Any) -> None:
    dropout = choices.get("modality_dropout", OFF)
    # A trainer's own word gives way; "uniform" turns drawing on where a trainer has none.
    if choices.get("modality_subsets", OFF) != OFF and dropout not in (own_dropout, "uniform"):
        raise ValueError(
            f"{_OF_THE_PLANS} modality_subsets and modality_dropout {dropout!r} both say which subsets are drawn: "
            "leave one of them out."
        )


def with_numbers(choices: Mapping[str, Any], modality_names: Sequence[str]) -> dict[str, Any]:
    """Return the choices with channel numbers in the place of the names that a network is built by.

    Names by which subsets are drawn become the dataset's own (``with_names``).

    Raises:
        ValueError: there is no such channel, an order of substitutes does not name each, or see ``with_names``.
    """
    resolved = with_names(choices, modality_names)
    for key, number in (("modality_subset", subset_channels), ("substitution", substitution_order)):
        if key in resolved:
            resolved[key] = number(resolved, modality_names)
    return resolved


def with_names(choices: Mapping[str, Any], modality_names: Sequence[str]) -> dict[str, Any]:
    """Return the choices with tables of modalities and subsets under the names of dataset.json, in channel order.

    So equal tables are equal, however they were written. Subsets of weight 0 are left out; the path of a prevalence
    file stays.

    Raises:
        ValueError: a table names no such modality, or one of them or one subset twice.
    """
    resolved = dict(choices)
    probabilities = drop_probabilities(choices, modality_names)
    if probabilities:
        resolved["modality_dropout"] = {modality_names[channel]: value for channel, value in probabilities.items()}
    weights = subset_weights(choices, modality_names)
    if weights:
        resolved["modality_subsets"] = {subset_name(subset, modality_names): value for subset, value in weights.items()}
    return resolved


def drop_probabilities(choices: Mapping[str, Any], modality_names: Sequence[str]) -> dict[int, float]:
    """Return {channel: probability} of a table of ``modality_dropout``; empty where it is a word.

    Raises:
        ValueError: it names no such modality, or one twice.
    """
    table = choices.get("modality_dropout")
    if not isinstance(table, Mapping):
        return {}
    found: dict[int, float] = {}
    for name, probability in table.items():
        channel = _chosen("modality_dropout", choose_channel, name, modality_names)
        if channel in found:
            raise ValueError(f"{_OF_THE_PLANS} modality_dropout names {modality_names[channel]} twice: name it once.")
        found[channel] = probability
    return dict(sorted(found.items()))


def subset_weights(choices: Mapping[str, Any], modality_names: Sequence[str]) -> dict[Subset, float]:
    """Return {subset: weight} of a table of ``modality_subsets`` without those of weight 0; empty where it is a word.

    Raises:
        ValueError: it names no subset of these modalities, or one twice.
    """
    table = choices.get("modality_subsets")
    if not isinstance(table, Mapping):
        return {}
    found: dict[Subset, float] = {}
    for name, weight in table.items():
        subset = _chosen("modality_subsets", choose_subset, [name], modality_names)
        if subset in found:
            named = subset_name(subset, modality_names)
            raise ValueError(f"{_OF_THE_PLANS} modality_subsets names {named} twice: name it once.")
        found[subset] = weight
    return {subset: found[subset] for subset in by_size(found) if found[subset]}


def _chosen(key: str, choose: Callable[[Any, Sequence[str]], Any], named: Any, modality_names: Sequence[str]) -> Any:
    try:
        return choose(named, modality_names)
    except ValueError as error:
        raise ValueError(f"{_OF_THE_PLANS} {key}: {error}") from error


def subset_channels(choices: Mapping[str, Any], modality_names: Sequence[str]) -> str | list[int]:
    """Return ``"all"``, or the numbers of the channels of ``modality_subset``.

    Raises:
        ValueError: there is no such channel, or one is named twice.
    """
    chosen, names = choices["modality_subset"], list(modality_names)
    if chosen == "all":
        return "all"
    channels: list[int] = []
    for named in chosen:
        channel = names.index(named) if named in names else named
        if channel not in range(len(names)):
            raise ValueError(
                f"{_OF_THE_PLANS} modality_subset must name channels of {', '.join(names)}, got {named!r}."
            )
        if channel in channels:
            raise ValueError(f"{_OF_THE_PLANS} modality_subset names {names[channel]} twice: name it once.")
        channels.append(channel)
    return sorted(channels)


def substitution_order(choices: Mapping[str, Any], modality_names: Sequence[str]) -> str | list[list[int]]:
    """Return ``"learned"``, or for each channel the numbers of the others, in the order in which they stand in for it.

    Raises:
        ValueError: an order does not name each other channel once, or ``"brats"`` is chosen for other channels.
    """
    chosen, names = choices["substitution"], list(modality_names)
    if chosen == "learned":
        return "learned"
    if chosen == "brats":
        if set(names) != set(BRATS_SUBSTITUTION):
            raise ValueError(
                f'{_OF_THE_PLANS} substitution "brats" is for the channels {", ".join(BRATS_SUBSTITUTION)}, and these '
                f'are {", ".join(names)}: set it to "learned", or name the others of each.'
            )
        chosen = BRATS_SUBSTITUTION
    if len(chosen) > len(names):
        raise ValueError(
            f"{_OF_THE_PLANS} substitution must have an order for each of {', '.join(names)}, got {len(chosen)} orders."
        )
    orders = dict(zip(names, chosen, strict=False)) if isinstance(chosen, list) else chosen
    numbers: list[list[int]] = []
    for channel, name in enumerate(names):
        order = orders.get(name, ())
        numbers.append([names.index(other) if other in names else other for other in order])
        others = [number for number in range(len(names)) if number != channel]
        if len(order) != len(others) or set(numbers[-1]) != set(others):
            listed = ", ".join(names[other] for other in others)
            raise ValueError(
                f"{_OF_THE_PLANS} substitution must name, for {name}, each of {listed} once, got {chosen}."
            )
    return numbers


def describe(choices: Mapping[str, Any]) -> str:
    """Return the choices in a line for a log, without those that keep nnU-Net's value; of a long table, its length."""
    shown = {
        name: f"{len(value)} of them" if isinstance(value, Mapping) and len(value) > _MOST_SHOWN else value
        for name, value in choices.items()
    }
    return ", ".join(f"{name}={value}" for name, value in shown.items() if value is not None)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return ``"key was ..., is ..."`` for each choice that must stay the same while a training is continued.

    Those are of network, losses, teacher and dropout; lengths, rates and the treatment of files may change.
    Keys that one side does not have are not compared.
    """
    methods = (*METHOD_KEYS, *MASKING_KEYS)
    keys = [key.name for key in KEYS if key in methods or key.name.startswith("modality_")]
    return [
        f"{name} was {then[name]!r}, is {now[name]!r}"
        for name in keys
        if name in then and name in now and then[name] != now[name]
    ]


def _refuse_unknown(block: Mapping[str, Any]) -> None:
    for name in block:
        if name in _KEY_BY_NAME:
            continue
        near = difflib.get_close_matches(name, _KEY_BY_NAME, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"{_OF_THE_PLANS} unknown key {name!r}; the nearest known one is {near!r}. "
            f"Known keys: {', '.join(_KEY_BY_NAME)}."
        )
