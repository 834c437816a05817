"""Modality names, channels, subsets and patients: the terms that all other modules share.

A modality is an acquisition (T1ce), a channel is its position on the channel axis, a subset is a set of modalities.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

Subset = tuple[int, ...]
"""Channels, in ascending order."""

ALL = "all"
"""The word that names all subsets."""


def channel_names(dataset_json: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the modality names of an nnU-Net ``dataset.json`` in channel order.

    Reads ``channel_names``, or ``modality`` as nnU-Net v1 called it.

    Raises:
        ValueError: there are no channels, they are no object {number: name}, or their numbers are not 0..J-1.
    """
    named = dataset_json.get("channel_names") or dataset_json.get("modality")
    if not named:
        raise ValueError('dataset.json names no channels: add for example "channel_names": {"0": "FLAIR"}.')
    if not isinstance(named, Mapping) or not all(str(key).isdecimal() for key in named):
        example = json.dumps({str(channel): str(name) for channel, name in enumerate(named)}, ensure_ascii=False)
        raise ValueError(f'channel_names in dataset.json must be as "channel_names": {example}, got {named!r}.')
    by_channel = {int(key): str(name) for key, name in named.items()}
    if sorted(by_channel) != list(range(len(by_channel))):
        raise ValueError(
            f"channel_names in dataset.json must be numbered 0..{len(by_channel) - 1}, got {sorted(named)}."
        )
    return tuple(by_channel[channel] for channel in range(len(by_channel)))


def all_subsets(num_modalities: int) -> list[Subset]:
    """Return the ``2**J - 1`` non-empty subsets of channels ``0..J-1``, by size, then in lexicographic order.

    Raises:
        ValueError: ``num_modalities`` is below 1.
    """
    if num_modalities < 1:
        raise ValueError(f"A dataset has at least one modality, got {num_modalities}.")
    channels = range(num_modalities)
    return [subset for size in range(1, num_modalities + 1) for subset in combinations(channels, size)]


def subset_name(subset: Sequence[int], names: Sequence[str]) -> str:
    """Return the names of a subset joined by ``+`` in channel order, ``"FLAIR+T1ce"``.

    Raises:
        ValueError: the subset is empty or holds a channel that has no name.
    """
    if not subset or min(subset) < 0 or max(subset) >= len(names):
        raise ValueError(f"A subset holds one or more of the channels 0..{len(names) - 1}, got {tuple(subset)}.")
    return "+".join(names[channel] for channel in sorted(subset))


def choose_subsets(words: Sequence[str], names: Sequence[str]) -> list[Subset]:
    """Return the subsets that ``words`` name, in the order of ``all_subsets``.

    Each word is ``all``, a number of modalities (``2``: every subset of two), or names joined by ``+`` in any order, in
    upper or lower case (``T1ce+flair``).

    Args:
        names: the modality names in channel order.

    Raises:
        ValueError: there is no word, or one is none of these; the message lists the modalities and the nearest name.
    """
    every = all_subsets(len(names))
    chosen: set[Subset] = set()
    for word in words:
        if word.casefold() == ALL:
            chosen.update(every)
        elif word.isdecimal():
            if not 1 <= int(word) <= len(names):
                raise ValueError(f"A subset has 1 to {len(names)} modalities, got {word}.")
            chosen.update(subset for subset in every if len(subset) == int(word))
        else:
            chosen.add(choose_subset(word.split("+"), names))
    if not chosen:
        raise ValueError(f"Name at least one subset, for example {subset_name(every[-1], names)}, or {ALL}.")
    return [subset for subset in every if subset in chosen]


def choose_subset(words: Sequence[str], names: Sequence[str]) -> Subset:
    """Return the channels of the modalities that ``words`` name, in any order, in upper or lower case.

    Raises:
        ValueError: a word is not the name of a modality; the message lists the modalities and the nearest name.
    """
    channel = {name.casefold(): position for position, name in enumerate(names)}
    chosen = set()
    for word in words:
        if word.strip().casefold() not in channel:
            near = difflib.get_close_matches(word.strip().casefold(), channel, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"{word!r} is no modality of {', '.join(names)}; did you mean {names[channel[near]]}? "
                "Join the modalities of a subset by +."
            )
        chosen.add(channel[word.strip().casefold()])
    return tuple(sorted(chosen))


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return the regular expression that finds the patient in a case's name: its one group is the patient.

    Raises:
        ValueError: it is not a regular expression, or does not have exactly one group.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}.") from error
    if pattern.groups != 1:
        raise ValueError(f"{text!r} must have one group in round brackets, the patient; it has {pattern.groups}.")
    return pattern


def name_patients(cases: Iterable[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Return the patient of each case; ``pattern`` is matched from the start of the case's name.

    Raises:
        ValueError: the pattern does not match a case, or its group is empty.
    """
    patients = {}
    for case in cases:
        found = pattern.match(case)
        if found is None or not found[1]:
            raise ValueError(f"{pattern.pattern!r} names no patient in case {case}, matched from its start.")
        patients[case] = found[1]
    return patients
