"""Subsets of modalities as other programs write them, in paths and tables: ``T1_T2``, ``t1c-flair``, ``0+2``, ``1010``.

Predictions and scores of other models are read by it. How this package writes a subset is in ``modalities``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from nnunet_missingmod.modalities import Subset, choose_subset, subset_name
from nnunet_missingmod.sequence_names import SEQUENCE_OF

_SEPARATOR = re.compile(r"\s*[-+_,;]\s*|\s+")
_NUMBERS, _BITS = "channel numbers", "a bit per channel"
# Of one text: more are not told apart, since two are one too many.
_MOST_READINGS = 9


def read_subsets(texts: Iterable[str], names: Sequence[str]) -> dict[str, Subset]:
    """Return the subset that each text stands for; a text that stands for none is left out.

    A text is one of

    - modalities in any order, in upper or lower case, joined by ``+``, ``-``, ``_``, ``,``, ``;`` or spaces. Spellings
      of BraTS's sequences (``t1c``, ``t2f``) stand for the one channel that is this sequence;
    - channel numbers, joined likewise: ``0+2``, ``0000_0002``;
    - a bit per channel, in channel order: ``1010``.

    Numbers and bits are told apart by all texts together: ``0001`` is the last of four channels beside ``1010``, which
    is no number of a channel.

    Args:
        texts: of one folder or table.
        names: the modality names in channel order.

    Raises:
        ValueError: a text stands for several subsets, or channels are numbered from 1.
    """
    texts = list(dict.fromkeys(texts))
    named = named_subsets(texts, names)
    others = {
        text: {how: read for how, read in _numeric(text, len(names)).items() if read is not None}
        for text in texts
        if text not in named
    }
    _refuse_numbers_from_one(others, len(names))
    readable = {text: readings for text, readings in others.items() if readings}
    usual = [how for how in (_NUMBERS, _BITS) if all(how in readings for readings in readable.values())]
    for text, readings in readable.items():
        found = {readings[how] for how in usual or readings}
        if len(found) > 1:
            meant = " or ".join(f"{subset_name(subset, names)} (as {how})" for how, subset in readings.items())
            raise ValueError(f"{text!r} may be {meant}: write the names of the modalities, as T1+T2.")
        named[text] = found.pop()
    return named


def named_subsets(texts: Iterable[str], names: Sequence[str]) -> dict[str, Subset]:
    """Return the subset that each text names, as `read_subsets` reads names; numbers and bits are left out.

    Raises:
        ValueError: a text can be divided into names in several ways.
    """
    found = {text: _named_subset(text, names) for text in dict.fromkeys(texts)}
    return {text: subset for text, subset in found.items() if subset is not None}


def _named_subset(text: str, names: Sequence[str]) -> Subset | None:
    """Return the subset that a text names, as this package writes it or with other separators; None if it names none.

    Raises:
        ValueError: it can be divided into names in several ways.
    """
    try:
        return choose_subset([text], names)
    except ValueError:
        pass
    divided = sorted(_divisions(text.strip().casefold(), _channel_of(names)))
    if len(divided) > 1:
        meant = " or ".join(subset_name(subset, names) for subset in divided[:3])
        raise ValueError(f"{text!r} may be {meant}: join the names by +.")
    return divided[0] if divided else None


def _channel_of(names: Sequence[str]) -> dict[str, int]:
    """Return {spelling in lower case: channel} of every spelling that is that of one channel only."""
    own: defaultdict[str, set[int]] = defaultdict(set)
    for channel, name in enumerate(names):
        folded = name.strip().casefold()
        # In paths this package writes _ for what is not in every file's name.
        own[folded].add(channel)
        own[re.sub(r"[^\w.-]", "_", folded)].add(channel)
    of_sequence: defaultdict[str, set[int]] = defaultdict(set)
    for channel, name in enumerate(names):
        sequence = SEQUENCE_OF.get(re.sub(r"[\W_]", "", name.casefold()))
        if sequence is not None:
            of_sequence[sequence].add(channel)
    spellings = {spelling: of_sequence.get(sequence, set()) for spelling, sequence in SEQUENCE_OF.items()}
    return {text: min(channels) for text, channels in {**spellings, **own}.items() if len(channels) == 1}


def _divisions(text: str, channel_of: dict[str, int]) -> set[Subset]:
    """Return every subset whose names, between separators, make up the text; a channel stands in it once."""
    pieces = _SEPARATOR.split(text)
    starts = [0, *(found.end() for found in _SEPARATOR.finditer(text))]
    ends = [*(found.start() for found in _SEPARATOR.finditer(text)), len(text)]
    # What the first pieces may stand for, by their number: names may have separators in them.
    before: list[set[Subset]] = [{()}, *(set() for _ in pieces)]
    for end in range(len(pieces)):
        for start in range(end + 1):
            channel = channel_of.get(text[starts[start] : ends[end]])
            if channel is None:
                continue
            for subset in before[start]:
                if channel not in subset and len(before[end + 1]) < _MOST_READINGS:
                    before[end + 1].add(tuple(sorted((*subset, channel))))
    return before[-1] - {()}


def _numbers(text: str) -> list[int]:
    pieces = _SEPARATOR.split(text.strip())
    return [int(piece) for piece in pieces] if all(piece.isascii() and piece.isdecimal() for piece in pieces) else []


def _numeric(text: str, count: int) -> dict[str, Subset | None]:
    """Return what a text without names may stand for: channel numbers, or a bit per channel."""
    numbers, stripped = _numbers(text), text.strip()
    is_numbers = numbers and len(set(numbers)) == len(numbers) and max(numbers) < count
    bits = tuple(channel for channel, bit in enumerate(stripped) if bit == "1")
    is_bits = len(stripped) == count and set(stripped) <= {"0", "1"} and bits
    return {_NUMBERS: tuple(sorted(numbers)) if is_numbers else None, _BITS: bits if is_bits else None}


def _refuse_numbers_from_one(others: dict[str, dict[str, Subset]], count: int) -> None:
    """Refuse numbers that are those of channels only if they are counted from 1, since others would be misread.

    Raises:
        ValueError: the highest is the number of channels, and none is 0.
    """
    numbers = {text: _numbers(text) for text, readings in others.items() if _BITS not in readings}
    every = [number for of_text in numbers.values() for number in of_text]
    if every and min(every) == 1 and max(every) == count:
        text = next(text for text, of_text in numbers.items() if count in of_text)
        raise ValueError(
            f"{text!r} numbers channels from 1, but they are counted from 0 to {count - 1}, as in CASE_0000: "
            "rename, or "
            "write the names of the modalities."
        )
