"""Modality names, channels, subsets and patients: the terms that all other modules share.

A modality is an acquisition (T1ce), a channel is its position on the channel axis, a subset is a set of modalities.

In words, a subset is its names joined by ``+``. A backslash takes the special meaning off the character after it, so
that every name can be written: ``T1\\+C`` is one modality, ``\\2`` and ``\\all`` are names and no number or keyword.
"""

from __future__ import annotations

import difflib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any

Subset = tuple[int, ...]
"""Channels, in ascending order."""

ALL = "all"
"""The word that names all subsets."""
ALONE = "alone"
"""The word that names the subsets of one modality."""
LEAVE_ONE_OUT = "leave-one-out"
"""The word that names the subsets that lack one modality."""
FULL = "full"
"""The word that names the subset of all modalities."""
RANDOM = "random:"
"""Before a number: so many subsets, drawn with a fixed seed."""
SUBSET_WORDS = f"{ALONE}, {LEAVE_ONE_OUT}, {FULL}, {RANDOM}N, a number of modalities, {ALL}, or names joined by +"
"""The words that `choose_subsets` reads, for help and messages."""

MOST_SUBSETS = 100_000
"""More subsets are not listed: every further modality doubles their number."""


def channel_names(dataset_json: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the modality names of an nnU-Net ``dataset.json`` in channel order, each of them once.

    Reads ``channel_names``, or ``modality`` as nnU-Net v1 called it. nnU-Net takes the normalisation from these names,
    so that several channels may have one name (MR, MR): those are called ``MR_0``, ``MR_1`` here. A channel without a
    name is called ``channel_N``.

    Raises:
        ValueError: there are no channels, they are no object {number: name}, or their numbers are not 0..J-1.
    """
    names = written_names(dataset_json)
    while len(set(names)) < len(names):
        number = Counter(names)
        names = tuple(f"{name}_{channel}" if number[name] > 1 else name for channel, name in enumerate(names))
    return names


def written_names(dataset_json: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names in channel order as dataset.json has them, some perhaps more than once; see `channel_names`."""
    named = dataset_json.get("channel_names") or dataset_json.get("modality")
    if not named:
        raise ValueError('dataset.json names no channels: add for example "channel_names": {"0": "FLAIR"}.')
    if not isinstance(named, Mapping) or not all(str(key).isdecimal() for key in named):
        listed = named if isinstance(named, list | tuple) else [named]
        if isinstance(named, Mapping):
            is_turned_round = all(str(value).isdecimal() for value in named.values())
            listed = sorted(named, key=lambda name: int(named[name])) if is_turned_round else list(named)
        example = json.dumps({str(channel): str(name) for channel, name in enumerate(listed)}, ensure_ascii=False)
        raise ValueError(f'channel_names in dataset.json must be as "channel_names": {example}, got {named!r}.')
    by_channel = {int(key): str(name) for key, name in named.items()}
    if sorted(by_channel) != list(range(len(named))):
        raise ValueError(f"channel_names in dataset.json must be numbered 0..{len(named) - 1}, got {list(named)}.")
    in_order = (by_channel[channel] for channel in range(len(named)))
    return tuple(name if name.strip() else f"channel_{channel}" for channel, name in enumerate(in_order))


def all_subsets(num_modalities: int) -> list[Subset]:
    """Return the ``2**J - 1`` non-empty subsets of channels ``0..J-1``, by size, then in lexicographic order.

    Call it only where all of them are asked for.

    Raises:
        ValueError: ``num_modalities`` is below 1, or there are more than `MOST_SUBSETS`.
    """
    if num_modalities < 1:
        raise ValueError(f"A dataset has at least one modality, got {num_modalities}.")
    _check_number(2**num_modalities - 1, f"{num_modalities} modalities have")
    channels = range(num_modalities)
    return [subset for size in range(1, num_modalities + 1) for subset in combinations(channels, size)]


def by_size(subsets: Iterable[Subset]) -> list[Subset]:
    """Return subsets, each once, in the order of `all_subsets`."""
    return sorted(set(subsets), key=lambda subset: (len(subset), subset))


def split_escaped(text: str, separator: str) -> list[str]:
    r"""Return the parts between separators that no backslash precedes; the parts keep their backslashes.

    ``split_escaped(r"T1\+C+T2", "+") == [r"T1\+C", "T2"]``.
    """
    parts = [""]
    for token in re.findall(r"\\?.", text, re.DOTALL):
        if token == separator:
            parts.append("")
        else:
            parts[-1] += token
    return parts


def unescape(text: str) -> str:
    """Return a part in the notation of subsets as the name that it stands for: without its backslashes."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def subset_name(subset: Sequence[int], names: Sequence[str]) -> str:
    """Return the names of a subset joined by ``+`` in channel order, ``"FLAIR+T1ce"``, as `choose_subsets` reads it.

    Raises:
        ValueError: the subset is empty or holds a channel that has no name.
    """
    if not subset or min(subset) < 0 or max(subset) >= len(names):
        raise ValueError(f"A subset holds one or more of the channels 0..{len(names) - 1}, got {tuple(subset)}.")
    joined = "+".join(re.sub(r"([\\+])", r"\\\1", names[channel]) for channel in sorted(subset))
    return f"\\{joined}" if _is_keyword(joined) or joined.startswith("-") else joined


def choose_subsets(words: Sequence[str], names: Sequence[str]) -> list[Subset]:
    """Return the subsets that ``words`` name, in the order of ``all_subsets``.

    Each word is one of

    - ``all``; ``alone``, each modality alone; ``leave-one-out``, all but one; ``full``, all modalities in one subset;
    - a number of modalities (``2``: every subset of two);
    - ``random:N``: N different ones, each subset as likely as any other; the same in every call, and among those of a
      larger N;
    - names joined by ``+`` in any order, in upper or lower case (``T1ce+flair``).

    Args:
        names: the modality names in channel order.

    Raises:
        ValueError: there is no word, one is none of these (the message lists the modalities and the nearest name), or a
            word stands for more than `MOST_SUBSETS`.
    """
    chosen: set[Subset] = set()
    for word in words:
        chosen.update(_subsets_of_word(word, names))
    if not chosen:
        raise ValueError(f"Name at least one subset, for example {subset_name(range(len(names)), names)}, or {ALL}.")
    return by_size(chosen)


def _is_keyword(word: str) -> bool:
    """Return whether a word stands for subsets without naming a modality."""
    folded = word.casefold()
    return folded in (ALL, ALONE, LEAVE_ONE_OUT, FULL) or folded.startswith(RANDOM) or folded.isdecimal()


def _subsets_of_word(word: str, names: Sequence[str]) -> Iterable[Subset]:
    if not _is_keyword(word):
        return [choose_subset([word], names)]
    count, folded = len(names), word.casefold()
    if folded == ALL:
        return all_subsets(count)
    if folded.startswith(RANDOM):
        return _random_subsets(word, count)
    size = {ALONE: "1", LEAVE_ONE_OUT: str(count - 1), FULL: str(count)}.get(folded, folded)
    if not 1 <= int(size) <= count:
        raise ValueError(f"A subset has 1 to {count} modalities, got {word}.")
    _check_number(comb(count, int(size)), f"{count} modalities have", f" of {size}")
    return combinations(range(count), int(size))


def _random_subsets(word: str, num_modalities: int) -> set[Subset]:
    number = word[len(RANDOM) :]
    if not number.isdecimal() or not 1 <= int(number) <= 2**num_modalities - 1:
        raise ValueError(
            f"{RANDOM}N is so many of the {2**num_modalities - 1} subsets of {num_modalities} modalities, got {word}."
        )
    _check_number(int(number), f"{word} asks for")
    rng = random.Random(0)
    drawn: set[int] = set()
    while len(drawn) < int(number):
        drawn.add(rng.randrange(1, 2**num_modalities))
    return {tuple(channel for channel in range(num_modalities) if bits >> channel & 1) for bits in drawn}


def _check_number(number: int, before: str, after: str = "") -> None:
    if number > MOST_SUBSETS:
        raise ValueError(
            f"{before} {number:,} subsets{after}, and at most {MOST_SUBSETS:,} are listed. Name fewer: {SUBSET_WORDS}."
        )


def choose_subset(words: Sequence[str], names: Sequence[str]) -> Subset:
    """Return the channels of the modalities that ``words`` name, in any order, in upper or lower case.

    Each word is a name, or several joined by ``+``.

    Raises:
        ValueError: a word is not the name of a modality (the message lists the modalities and the nearest name), or a
            modality is named twice.
    """
    channels: list[int] = []
    for word in words:
        for part in map(unescape, split_escaped(word, "+")):
            if not part.strip():
                raise ValueError(f"In {word!r} the name of a modality is empty; they are {', '.join(names)}.")
            if (channel := channel_called(part, names)) is None:
                raise ValueError(f"{_unknown(part, names)} Join the modalities of a subset by +.")
            if channel in channels:
                raise ValueError(f"{names[channel]} is named twice in {' '.join(words)!r}: name each modality once.")
            channels.append(channel)
    return tuple(sorted(channels))


def channel_called(name: str, names: Sequence[str]) -> int | None:
    """Return the channel of exactly this name, else of this name in upper or lower case; None if there is none.

    Raises:
        ValueError: it may be several, none of which is written so.
    """
    for spelled in (str, str.strip, lambda text: text.strip().casefold()):
        found = [channel for channel, other in enumerate(names) if spelled(other) == spelled(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(
                f"{name!r} may be {' or '.join(names[channel] for channel in found)}: write it exactly so."
            )
    return None


def choose_channel(name: str, names: Sequence[str]) -> int:
    """Return the channel of a modality: that of exactly this name, else of this name in upper or lower case.

    Raises:
        ValueError: it is not the name of a modality (the message lists them, and the nearest), or the name of several.
    """
    channel = channel_called(name, names)
    if channel is None:
        raise ValueError(_unknown(name, names))
    return channel


def _unknown(name: str, names: Sequence[str]) -> str:
    folded = [other.strip().casefold() for other in names]
    (near,) = difflib.get_close_matches(name.strip().casefold(), folded, n=1, cutoff=0.0)
    return f"{name!r} is no modality of {', '.join(names)}; did you mean {subset_name([folded.index(near)], names)}?"


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
    found = {case: pattern.match(case) for case in cases}
    patients = {case: match[1] for case, match in found.items() if match is not None and match[1]}
    unnamed = [case for case in found if case not in patients]
    if unnamed:
        where = f"{unnamed[0]} ({len(unnamed)} of {len(found)} cases), matched from its start."
        hint = " What only some names have is optional: '(.+?)(?:_v[0-9]+)?$'." if patients else ""
        raise ValueError(f"{pattern.pattern!r} names no patient in case {where}{hint}")
    return patients
