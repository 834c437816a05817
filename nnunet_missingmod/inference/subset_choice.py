"""Which subsets of modalities a command works on, in the words of its user."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from nnunet_missingmod.modalities import Subset, all_subsets, subset_name

ALL = "all"


def choose_subsets(words: Sequence[str], names: Sequence[str]) -> list[Subset]:
    """Return the subsets that ``words`` name, in the order of ``all_subsets``.

    Each word is ``all``, a number of modalities (``2``: every subset of two), or names joined by ``+`` in any order and
    any case of letters (``T1ce+flair``).

    Args:
        names: the modality names in channel order.

    Raises:
        ValueError: a word is none of these; the message lists the modalities and the nearest name.
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
    """Return the channels of the modalities named, in any order and any case of letters.

    Raises:
        ValueError: a name is not that of a modality; the message lists them and the nearest.
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
