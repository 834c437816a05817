"""More must not be worse: how often one modality more costs a case more than a point of Dice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_missingmod.evaluation.aggregation import CaseValues
from nnunet_missingmod.evaluation.intervals import Interval
from nnunet_missingmod.evaluation.modality_gain import additions
from nnunet_missingmod.evaluation.shares import share_interval
from nnunet_missingmod.modalities import ALL, subset_name

POINTS = 1.0
"""By how many points of Dice a case with one modality more must be worse to count."""
# Differences of a metric that are smaller are rounding errors.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Drops:
    """How often a model is worse with one modality more: with ``modality``, or with any (``"all"``).

    ``share`` is the share of the ``pairs`` (case, S, S + q) whose Dice is lower by more than `POINTS`, with its
    interval over patients. ``left_out`` counts the pairs of which one side has no score.
    """

    model: str
    region: str
    modality: str
    share: Interval
    pairs: int
    left_out: int


def drops(
    values: CaseValues,
    *,
    confidence: float = 0.95,
    regions: Mapping[str, Sequence[str]] | None = None,
    patients: Mapping[str, str] | None = None,
) -> list[Drops]:
    """Return the share of drops of every model and group of regions, with any modality and with each.

    Of a group of regions, the mean Dice over them is compared. The intervals are those of `share_interval`, with all
    pairs of a patient as one observation. With one modality there are none.

    Args:
        values: Dice.
        regions, patients: as in `compare`.
    """
    groups = {region: (region,) for region in values.regions} if regions is None else regions
    owners = values.owners(patients)
    channels = {channel: additions(values.subsets, channel) for channel in range(len(values.modalities))}
    found = []
    for model in values.models:
        for region, members in groups.items():
            of_modality = {}
            for channel, subsets in channels.items():
                if subsets:
                    with_it = [tuple(sorted((*subset, channel))) for subset in subsets]
                    # Cases x regions x subsets; the mean over regions is undefined where one of them is.
                    before, after = (
                        values.of(model, members, which).reshape(len(values.cases), len(members), -1).mean(axis=1)
                        for which in (subsets, with_it)
                    )
                    left_out = int(np.count_nonzero(np.isnan(before) != np.isnan(after)))
                    of_modality[subset_name([channel], values.modalities)] = (after - before, left_out)
            if not of_modality:
                continue
            every = np.concatenate([mean for mean, _ in of_modality.values()], axis=1)
            shown = {ALL: (every, sum(left_out for _, left_out in of_modality.values())), **of_modality}
            for modality, (gains, left_out) in shown.items():
                defined = ~np.isnan(gains)
                events = (gains < -POINTS / values.metric.factor - _ROUNDING).sum(axis=1)
                share = share_interval(events, defined.sum(axis=1), owners, confidence=confidence)
                found.append(Drops(model, region, modality, share, int(defined.sum()), left_out))
    return found
