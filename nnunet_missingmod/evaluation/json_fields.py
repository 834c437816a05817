"""Reads the values of JSON objects that someone may have changed: each is checked, and named where it is impossible.

The model card is read with it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from math import inf, nan
from typing import Any

_LARGEST = 1e12
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80


def shortened(value: Any) -> str:
    """Return a value as a message shows it, however long it is."""
    return _repr.repr(value)


class ImpossibleError(Exception):
    """A value is impossible; the message names it."""


class Fields:
    """The values of one JSON object, which ``place`` names in messages; each method reads a value and checks it.

    Every method raises ImpossibleError where the value is missing or something else.
    """

    def __init__(self, content: Any, place: str) -> None:
        if not isinstance(content, Mapping):
            raise ImpossibleError(f"{place} is no object")
        self.content = content
        self.place = place

    def _value(self, key: str, kind: type | tuple[type, ...], word: str) -> Any:
        value = self.content.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ImpossibleError(f"{key!r} of {self.place} is {shortened(value)} and not {word}")
        return value

    def text(self, key: str) -> str:
        """Return a text."""
        return str(self._value(key, str, "a text"))

    def truth(self, key: str) -> bool:
        """Return true or false."""
        return bool(self._value(key, bool, "true or false"))

    def number(self, key: str, *, least: float = -_LARGEST, most: float = _LARGEST) -> float:
        """Return a number between two limits."""
        value = self._value(key, (int, float), "a number")
        if not least <= value <= most:
            where = f"outside of {least:g}..{most:g}"
            if most == _LARGEST:
                where = "out of range" if least == -_LARGEST else f"below {least:g}"
            raise ImpossibleError(f"{key!r} of {self.place} is {shortened(value)}, which is {where}")
        return float(value)

    def number_or_nan(self, key: str, *, least: float = -_LARGEST, most: float = _LARGEST) -> float:
        """Return a number between two limits, or NaN where the value is null."""
        return nan if self.content.get(key, "") is None else self.number(key, least=least, most=most)

    def whole(self, key: str, *, least: int) -> int:
        """Return a whole number of at least ``least``."""
        value = self.number(key, least=least)
        if value != int(value):
            raise ImpossibleError(f"{key!r} of {self.place} is {value:g} and not a whole number")
        return int(value)

    def ascending(self, key: str, *, strictly: bool) -> tuple[float, ...]:
        """Return one or more numbers in -1..1, none below the one before it."""
        values = self._value(key, list, "a list")
        each = Fields({str(index): value for index, value in enumerate(values)}, f"{key}, {self.place}")
        numbers = tuple(each.number(index, least=-1, most=1) for index in each.content)
        before = -inf
        for number in numbers:
            if number < before or (strictly and number == before):
                raise ImpossibleError(f"{key!r} of {self.place} holds {number:g} after {before:g}")
            before = number
        if not numbers:
            raise ImpossibleError(f"{key!r} of {self.place} is empty")
        return numbers

    def texts(self, key: str) -> tuple[str, ...]:
        """Return one or more names, each once."""
        values = self._value(key, list, "a list")
        if not values or not all(isinstance(value, str) for value in values) or len(set(values)) != len(values):
            raise ImpossibleError(f"{key!r} of {self.place} lists no names, each once")
        return tuple(values)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return an object as it is."""
        found: Mapping[str, Any] = self._value(key, Mapping, "an object")
        return found

    def part(self, key: str) -> Fields:
        """Return an object for further reading."""
        return Fields(self.mapping(key), f"{key}, {self.place}")
