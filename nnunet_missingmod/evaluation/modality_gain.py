"""What a further modality changes: the difference in a metric between S and S + q, case by case, and its mean.

The model card has the gains of its advice from here, and the report its heatmap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.aggregation import CaseValues
from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval
from nnunet_missingmod.evaluation.statistics import difference_intervals
from nnunet_missingmod.modalities import ALL, Subset, subset_name

Over = Literal["subset", "number present", "all subsets"]
"""What a gain is averaged over: one subset, those of one size, or all to which the modality can be added."""


@dataclass(frozen=True)
class ModalityGain:
    """The mean gain of a model in a region by ``modality``, when those of ``present`` are there already.

    ``modality`` is a `subset_name`, and so is ``present`` where the gain is that of one subset; else it is the average
    over the subsets of one size (``"2 of 4"``) or over all (``"all"``), as ``over`` says. ``left_out`` counts the cases
    (of a subset and a region each) that have a score with the modality or without, and not both.
    """

    model: str
    region: str
    modality: str
    present: str
    over: Over
    gain: Interval
    left_out: int


def additions(subsets: Sequence[Subset], modality: int) -> list[Subset]:
    """Return the subsets without a modality that are among ``subsets`` with it, too, in their order."""
    known = set(subsets)
    return [subset for subset in subsets if modality not in subset and tuple(sorted((*subset, modality))) in known]


def matched_gains(
    values: CaseValues, model: str, regions: Sequence[str], subsets: Sequence[Subset], modality: int
) -> NDArray[np.float64]:
    """Return the values with a modality minus those without, (cases, regions times subsets).

    NaN where one of the two is undefined.
    """
    with_it = [tuple(sorted((*subset, modality))) for subset in subsets]
    return values.of(model, regions, with_it) - values.of(model, regions, subsets)


def unmatched(values: CaseValues, model: str, regions: Sequence[str], subsets: Sequence[Subset], modality: int) -> int:
    """Return how many cases, of a subset and a region each, have a value with a modality or without, and not both."""
    with_it = [tuple(sorted((*subset, modality))) for subset in subsets]
    before, after = (np.isnan(values.of(model, regions, which)) for which in (subsets, with_it))
    return int(np.count_nonzero(before != after))


def modality_gains(
    values: CaseValues,
    *,
    bootstrap: Bootstrap,
    regions: Mapping[str, Sequence[str]] | None = None,
    patients: Mapping[str, str] | None = None,
) -> list[ModalityGain]:
    """Return the gains of every model, group of regions and modality, for each subset that it can be added to.

    The averages over subsets of one size, and over all, are there where all of these subsets were scored; they are
    means of the subsets' gains. ``regions`` and ``patients`` are as in `compare`. With one modality there are none.
    """
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    owners = values.owners(patients)
    wanted = [
        (model, region, members, channel, present, over, subsets)
        for model in values.models
        for region, members in groups.items()
        for channel in range(len(values.modalities))
        for present, over, subsets in _starts(values, channel)
    ]
    arrays = [
        matched_gains(values, model, members, subsets, channel) for model, _, members, channel, *_, subsets in wanted
    ]
    return [
        ModalityGain(
            model=model,
            region=region,
            modality=subset_name([channel], values.modalities),
            present=present,
            over=over,
            gain=interval,
            left_out=unmatched(values, model, members, subsets, channel),
        )
        for (model, region, members, channel, present, over, subsets), interval in zip(
            wanted, difference_intervals(values, arrays, owners, bootstrap), strict=True
        )
    ]


def _starts(values: CaseValues, channel: int) -> list[tuple[str, Over, list[Subset]]]:
    """Return the subsets to which a modality can be added: each by its name, those of each size, and all."""
    count = len(values.modalities)
    possible = additions(values.subsets, channel)
    starts: list[tuple[str, Over, list[Subset]]] = [
        (subset_name(subset, values.modalities), "subset", [subset]) for subset in possible
    ]
    for size in range(1, count):
        of_size = [subset for subset in possible if len(subset) == size]
        if len(of_size) == comb(count - 1, size):
            starts.append((f"{size} of {count}", "number present", of_size))
    if possible and len(possible) == 2 ** (count - 1) - 1:
        starts.append((ALL, "all subsets", possible))
    return starts
