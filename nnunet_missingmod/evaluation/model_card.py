"""What a model's accuracy was for every subset of modalities: the card that is kept beside the model.

Made once from score rows (`make_card`), read whenever the model predicts: `ModelCard.expected` says how accurate the
model is with what a case has, `ModelCard.advise` what each further modality would gain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any

from nnunet_missingmod.evaluation.bootstrap import Bootstrap, Interval
from nnunet_missingmod.evaluation.conventions import BRATS, DICE, Convention
from nnunet_missingmod.evaluation.pooling import pool
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import Subset, subset_name


@dataclass(frozen=True)
class Expected:
    """The accuracy that was measured with one subset: mean Dice over cases, in 0..1, of each region and of all."""

    subset: str
    mean: Interval
    regions: Mapping[str, Interval]

    def as_json(self) -> dict[str, Any]:
        """Return what is written beside a prediction: plain numbers, undefined ones as null."""
        regions = {name: interval.as_json() for name, interval in self.regions.items()}
        return {"subset": self.subset, "mean": self.mean.as_json(), "regions": regions}


@dataclass(frozen=True)
class Advice:
    """What the mean Dice over regions gained, in -1..1, when ``modality`` was added to what is present."""

    modality: str
    gain: Interval


@dataclass(frozen=True)
class ModelCard:
    """The measured accuracy of one model for all subsets.

    ``subsets`` is keyed by `subset_name`; ``gains`` by the subset and the modality added to it. Intervals of gains come
    from paired cases, and are therefore narrower than those of the two subsets suggest.
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

    def expected(self, subset: Sequence[int] | Sequence[str]) -> Expected:
        """Return the accuracy with a subset, given as channels or as modality names in any order.

        Raises:
            ValueError: a name or channel is none of the model's, or nothing is present.
        """
        return self.subsets[subset_name(self._channels(subset), self.modalities)]

    def advise(self, present: Sequence[int] | Sequence[str]) -> list[Advice]:
        """Return for each absent modality what it would gain, the best first; of none if all are present.

        Raises:
            ValueError: as `expected`.
        """
        gains = self.gains[subset_name(self._channels(present), self.modalities)]
        advice = [Advice(modality, gain) for modality, gain in gains.items()]
        # Undefined gains come last, equal ones in channel order.
        return sorted(advice, key=lambda each: (isnan(each.gain.mean), -each.gain.mean))

    def _channels(self, subset: Sequence[int] | Sequence[str]) -> Subset:
        folded = {name.casefold(): channel for channel, name in enumerate(self.modalities)}
        channels = set()
        for given in subset:
            channel = folded.get(given.casefold()) if isinstance(given, str) else given
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
    convention: Convention = BRATS,
    bootstrap: Bootstrap | None = None,
    patients: Mapping[str, str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Return the card of the one model that the rows are of; ``regions`` are those that count, by default all.

    ``patients`` gives the patient of a case where that is not the case itself; ``provenance`` holds JSON values.

    Raises:
        ValueError: the rows are of several models, a region has no rows, or as `pool`.
    """
    values = pool(rows, modalities=modalities, metric=DICE, convention=convention)
    if len(values.models) != 1:
        raise ValueError(f"A card is of one model, the rows are of {', '.join(values.models)}.")
    (model,) = values.models
    counted = values.regions if regions is None else tuple(regions)
    unknown = [region for region in counted if region not in values.regions]
    if unknown:
        raise ValueError(f"{unknown[0]!r} has no score rows; the regions are {', '.join(values.regions)}.")
    bootstrap = Bootstrap() if bootstrap is None else bootstrap
    owners = [(patients or {}).get(case, case) for case in values.cases]

    subsets: dict[str, Expected] = {}
    gains: dict[str, dict[str, Interval]] = {}
    for subset in values.subsets:
        name = subset_name(subset, modalities)
        scores = values.of(model, counted, [subset])
        of_region = {region: bootstrap.interval(values.of(model, [region], [subset]), owners) for region in counted}
        subsets[name] = Expected(name, bootstrap.interval(scores, owners), of_region)
        gains[name] = {
            modalities[added]: bootstrap.interval(values.of(model, counted, [(*subset, added)]) - scores, owners)
            for added in range(len(modalities))
            if added not in subset
        }
    return ModelCard(
        model=model,
        modalities=tuple(modalities),
        regions=counted,
        convention=convention.name,
        convention_text=convention.text(DICE),
        confidence=bootstrap.confidence,
        cases=values.cases,
        subsets=subsets,
        gains=gains,
        provenance={
            "bootstrap": {**asdict(bootstrap), "patients": len(set(owners))},
            **(provenance or {}),
        },
    )
