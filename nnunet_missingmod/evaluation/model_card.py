"""The model card: a model's measured accuracy for every subset of modalities, in a file in the model's folder.

``evaluate`` makes it from score rows (`make_card`) and writes it; ``predict`` and ``advise`` read it. For a case's
modalities, `ModelCard.expected` returns the accuracy, and `ModelCard.advise` the gain of each further modality.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, combinations
from math import isnan
from pathlib import Path
from typing import Any

from nnunet_missingmod.evaluation.aggregation import pool
from nnunet_missingmod.evaluation.conventions import DICE, Convention
from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval
from nnunet_missingmod.evaluation.json_fields import Fields, ImpossibleError, shortened
from nnunet_missingmod.evaluation.modality_gain import matched_gains
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.evaluation.statistics import difference_intervals, value_intervals
from nnunet_missingmod.evaluation.uncertainty import CalibratedKind, uncertainty_as_json, uncertainty_of
from nnunet_missingmod.modalities import Subset, subset_name
from nnunet_missingmod.storage import write_text

FILE_NAME = "missingmod_card.json"
FORMAT = "nnunet_missingmod model card"
VERSION = 1
# With more modalities than these, a card is not filled up with undefined numbers for subsets that were not scored.
_MOST_WITH_GAPS = 8


def weights_key(fold: int | str, stage: str | None = None) -> str:
    """Return the key of a fold's weights in a card's ``provenance["weights"]``: ``"0"``.

    Of an earlier stage of a cascade, with its configuration: ``"0, 3d_lowres"``.
    """
    return str(fold) if stage is None else f"{fold}, {stage}"


@dataclass(frozen=True)
class Expected:
    """The accuracy measured with one subset: mean Dice over cases, in 0..1, of each region and of their average."""

    subset: str
    mean: Interval
    regions: Mapping[str, Interval]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON values that are written next to a prediction; undefined numbers are null."""
        regions = {name: interval.as_json() for name, interval in self.regions.items()}
        return {"subset": self.subset, "mean": self.mean.as_json(), "regions": regions}


@dataclass(frozen=True)
class Advice:
    """The gain in mean Dice over regions, in -1..1, when ``modality`` is added to the present ones."""

    modality: str
    gain: Interval


@dataclass(frozen=True)
class ModelCard:
    """The measured accuracy of one model for all subsets.

    ``subsets`` is keyed by `subset_name`; ``gains`` by the subset and the modality added to it. Intervals of gains come
    from paired cases, and are therefore narrower than those of the two subsets suggest. ``uncertainty`` is keyed by the
    kind of agreement that intervals of single cases are made from; cards of earlier versions have none.
    """

    model: str
    modalities: tuple[str, ...]
    regions: tuple[str, ...]
    convention: str
    convention_text: str
    confidence: float
    cases: tuple[str, ...]
    subsets: Mapping[str, Expected]
    gains: Mapping[str, Mapping[str, Interval]]
    provenance: Mapping[str, Any]
    uncertainty: Mapping[str, CalibratedKind] = field(default_factory=dict)

    def expected(self, subset: Sequence[int] | Sequence[str]) -> Expected:
        """Return the accuracy with a subset, given as channels or as modality names in any order.

        Raises:
            ValueError: a name or channel does not belong to the model, or the subset is empty.
        """
        return self.subsets[subset_name(self._channels(subset), self.modalities)]

    def advise(self, present: Sequence[int] | Sequence[str]) -> list[Advice]:
        """Return the gain of each absent modality, the largest first; an empty list if all are present.

        Raises:
            ValueError: as for `expected`.
        """
        gains = self.gains[subset_name(self._channels(present), self.modalities)]
        advice = [Advice(modality, gain) for modality, gain in gains.items()]
        # Undefined gains come last, equal ones in channel order.
        return sorted(advice, key=lambda each: (isnan(each.gain.mean), -each.gain.mean))

    def _channels(self, subset: Sequence[int] | Sequence[str]) -> Subset:
        exact = {name: channel for channel, name in enumerate(self.modalities)}
        folded = {name.casefold(): channel for name, channel in exact.items()}
        channels = set()
        for given in subset:
            channel = exact.get(given, folded.get(given.casefold())) if isinstance(given, str) else given
            if channel is None or not 0 <= channel < len(self.modalities):
                raise ValueError(f"The model has no modality {given!r}; it has {', '.join(self.modalities)}.")
            channels.add(channel)
        if not channels:
            raise ValueError(f"Name one or more modalities that are present, of {', '.join(self.modalities)}.")
        return tuple(sorted(channels))


def make_card(
    rows: Iterable[ScoreRow],
    *,
    modalities: Sequence[str],
    regions: Sequence[str] | None = None,
    convention: Convention | None = None,
    bootstrap: Bootstrap | None = None,
    patients: Mapping[str, str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    uncertainty: Mapping[str, CalibratedKind] | None = None,
) -> ModelCard:
    """Return the card of the model that the rows belong to.

    Args:
        regions: those that the mean averages, by default all.
        patients: maps cases to patients; a case that it does not name is its own patient.
        convention: by default the one that suits the regions, see `choose_convention`.
        provenance: JSON values.
        uncertainty: what intervals of single cases are made from.

    Raises:
        ValueError: the rows belong to several models, a region has no rows, some of the subsets of more than eight
            modalities have none, or as for `pool`.
    """
    values = pool(rows, modalities=modalities, metric=DICE, convention=convention)
    if len(values.models) != 1:
        raise ValueError(f"A card is of one model, the rows are of {', '.join(values.models)}.")
    (model,) = values.models
    counted = values.regions if regions is None else tuple(regions)
    unknown = [region for region in counted if region not in values.regions]
    if unknown:
        raise ValueError(f"{unknown[0]!r} has no score rows; the regions are {', '.join(values.regions)}.")
    if len(modalities) > _MOST_WITH_GAPS and len(values.subsets) < 2 ** len(modalities) - 1:
        raise ValueError(
            f"A card of {len(modalities)} modalities needs the scores of every subset: {len(values.subsets)} of "
            f"{2 ** len(modalities) - 1} were scored."
        )
    bootstrap = Bootstrap() if bootstrap is None else bootstrap
    owners = values.owners(patients)

    subsets: dict[str, Expected] = {}
    gains: dict[str, dict[str, Interval]] = {}
    for subset in _each_subset(len(modalities)):
        name = subset_name(subset, modalities)
        scores = [values.of(model, members, [subset]) for members in (counted, *((region,) for region in counted))]
        mean, *of_regions = value_intervals(values, scores, owners, bootstrap)
        subsets[name] = Expected(name, mean, dict(zip(counted, of_regions, strict=True)))
        absent = [channel for channel in range(len(modalities)) if channel not in subset]
        gained = [matched_gains(values, model, counted, [subset], channel) for channel in absent]
        gains[name] = {
            modalities[channel]: interval
            for channel, interval in zip(absent, difference_intervals(values, gained, owners, bootstrap), strict=True)
        }
    return ModelCard(
        model=model,
        modalities=tuple(modalities),
        regions=counted,
        convention=values.convention.name,
        convention_text=values.convention.text(DICE),
        confidence=bootstrap.confidence,
        cases=values.cases,
        subsets=subsets,
        gains=gains,
        provenance={
            "bootstrap": {**asdict(bootstrap), "patients": len(set(owners))},
            **(provenance or {}),
        },
        uncertainty=uncertainty or {},
    )


def _each_subset(modalities: int) -> Iterator[Subset]:
    """Go through the subsets in the order of `all_subsets`, without listing them."""
    return chain.from_iterable(combinations(range(modalities), size) for size in range(1, modalities + 1))


def write_card(card: ModelCard, path: Path) -> None:
    """Write a card; equal cards give equal files, byte for byte."""
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
        **({"uncertainty": uncertainty_as_json(card.uncertainty)} if card.uncertainty else {}),
        "provenance": dict(card.provenance),
    }
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_card(path: Path) -> ModelCard:
    """Read a card that `write_card` wrote.

    Raises:
        ValueError: the file is missing, is not a card, or has a later version; or a value is missing or impossible, and
            the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: evaluate the model first, which writes it.") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder, not a model card: remove it and evaluate the model.") from None
    except RecursionError:
        raise ValueError(f"{path} cannot be read as JSON: it is nested too deeply. Evaluate the model again.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}. Evaluate the model again.") from error
    try:
        return _card_of(content)
    except ImpossibleError as error:
        raise ValueError(f"{path} is no model card that can be used: {error}. Evaluate the model again.") from error


def _card_of(content: Any) -> ModelCard:
    top = Fields(content, "the file")
    if top.text("format") != FORMAT:
        raise ImpossibleError(f"its format is {shortened(content['format'])} and not {FORMAT!r}")
    if top.number("version") > VERSION:
        raise ImpossibleError(f"its version is {content['version']}, this package reads up to {VERSION}")
    modalities, regions = top.texts("modalities"), top.texts("regions")
    convention = Fields(top.mapping("convention"), "convention")
    by_name = top.mapping("subsets")
    subsets: dict[str, Expected] = {}
    gains: dict[str, dict[str, Interval]] = {}
    for subset in _each_subset(len(modalities)):
        name = subset_name(subset, modalities)
        of_subset = Fields(Fields(by_name, "subsets").mapping(name), name)
        of_region = Fields(of_subset.mapping("regions"), f"{name}, regions")
        subsets[name] = Expected(
            subset=name,
            mean=_interval(of_subset, "mean", least=0.0),
            regions={region: _interval(of_region, region, least=0.0) for region in regions},
        )
        added = Fields(of_subset.mapping("gain_with"), f"{name}, gain_with")
        absent = [modality for channel, modality in enumerate(modalities) if channel not in subset]
        gains[name] = {modality: _interval(added, modality, least=-1.0) for modality in absent}
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
        uncertainty=uncertainty_of(top, regions=regions),
    )


def _interval(fields: Fields, key: str, *, least: float) -> Interval:
    """Return an interval within ``least``..1; its mean and limits may be null."""
    of_interval = fields.part(key)
    mean, low, high = (of_interval.number_or_nan(end) for end in ("mean", "low", "high"))
    if any(value < least or value > 1 for value in (mean, low, high)) or low > high:
        found = shortened(fields.content[key])
        raise ImpossibleError(f"{key!r} of {fields.place} is {found}, outside of {least:g}..1")
    return Interval(mean, low, high, int(of_interval.number("count")))
