"""The model card as a JSON file: written whole or not at all, and read with every value checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from typing import Any

from nnunet_missingmod.evaluation.atomic_file import write_text
from nnunet_missingmod.evaluation.bootstrap import Interval
from nnunet_missingmod.evaluation.model_card import Expected, ModelCard
from nnunet_missingmod.modalities import all_subsets, subset_name

FILE_NAME = "missingmod_card.json"
FORMAT = "nnunet_missingmod model card"
VERSION = 1


def write_card(card: ModelCard, path: Path) -> None:
    """Write a card; the same card gives the same bytes."""
    subsets = {}
    for name, expected in card.subsets.items():
        gains = {modality: gain.as_json() for modality, gain in card.gains[name].items()}
        body = expected.as_json()
        subsets[name] = {"mean": body["mean"], "regions": body["regions"], "gain_with": gains}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "model": card.model,
        "modalities": list(card.modalities),
        "regions": list(card.regions),
        "metric": 'Dice, 0..1, mean over cases; "mean" averages the regions',
        "convention": {"name": card.convention, "text": card.convention_text},
        "confidence": card.confidence,
        "cases": list(card.cases),
        "subsets": subsets,
        "provenance": dict(card.provenance),
    }
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_card(path: Path) -> ModelCard:
    """Read what `write_card` wrote.

    Raises:
        ValueError: the file is missing, is no card, or is of a later version; or a value is missing or impossible. The
        value is named.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: evaluate the model first, which writes it.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}.") from error
    try:
        return _card_of(content)
    except _ImpossibleError as error:
        raise ValueError(f"{path} is no model card that can be used: {error}. Evaluate the model again.") from error


class _ImpossibleError(Exception):
    """A value of a card that cannot be; its text says which."""


def _card_of(content: Any) -> ModelCard:
    top = _Fields(content, "the file")
    if top.text("format") != FORMAT:
        raise _ImpossibleError(f"its format is {content['format']!r} and not {FORMAT!r}")
    if top.number("version") > VERSION:
        raise _ImpossibleError(f"its version is {content['version']}, this package reads up to {VERSION}")
    modalities, regions = top.texts("modalities"), top.texts("regions")
    convention = _Fields(top.mapping("convention"), "convention")
    by_name = top.mapping("subsets")
    subsets: dict[str, Expected] = {}
    gains: dict[str, dict[str, Interval]] = {}
    for subset in all_subsets(len(modalities)):
        name = subset_name(subset, modalities)
        of_subset = _Fields(_Fields(by_name, "subsets").mapping(name), name)
        of_region = _Fields(of_subset.mapping("regions"), f"{name}, regions")
        subsets[name] = Expected(
            subset=name,
            mean=of_subset.interval("mean", least=0.0),
            regions={region: of_region.interval(region, least=0.0) for region in regions},
        )
        added = _Fields(of_subset.mapping("gain_with"), f"{name}, gain_with")
        absent = [modality for channel, modality in enumerate(modalities) if channel not in subset]
        gains[name] = {modality: added.interval(modality, least=-1.0) for modality in absent}
    return ModelCard(
        model=top.text("model"),
        modalities=modalities,
        regions=regions,
        convention=convention.text("name"),
        convention_text=convention.text("text"),
        confidence=top.number("confidence"),
        cases=top.texts("cases"),
        subsets=subsets,
        gains=gains,
        provenance=top.mapping("provenance"),
    )


class _Fields:
    """The values of one JSON object, each read as the kind it must be."""

    def __init__(self, content: Any, place: str) -> None:
        if not isinstance(content, Mapping):
            raise _ImpossibleError(f"{place} is no object")
        self._content = content
        self._place = place

    def _value(self, key: str, kind: type | tuple[type, ...], word: str) -> Any:
        value = self._content.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _ImpossibleError(f"{key!r} of {self._place} is {value!r} and not {word}")
        return value

    def text(self, key: str) -> str:
        return str(self._value(key, str, "a text"))

    def number(self, key: str) -> float:
        value = float(self._value(key, (int, float), "a number"))
        if not isfinite(value):
            raise _ImpossibleError(f"{key!r} of {self._place} is {value}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._value(key, list, "a list")
        if not values or not all(isinstance(value, str) for value in values) or len(set(values)) != len(values):
            raise _ImpossibleError(f"{key!r} of {self._place} lists no names, each once")
        return tuple(values)

    def mapping(self, key: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._value(key, Mapping, "an object")
        return found

    def interval(self, key: str, *, least: float) -> Interval:
        """Return an interval within ``least``..1, of which mean or limits may be null."""
        of_interval = _Fields(self.mapping(key), f"{key}, {self._place}")
        mean, low, high = (
            nan if of_interval._content.get(end, "") is None else of_interval.number(end)
            for end in ("mean", "low", "high")
        )
        if any(value < least or value > 1 for value in (mean, low, high)) or low > high:
            raise _ImpossibleError(f"{key!r} of {self._place} is {self._content[key]}, outside of {least:g}..1")
        return Interval(mean, low, high, int(of_interval.number("count")))
