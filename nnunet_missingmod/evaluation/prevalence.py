"""The mean that is weighted by how often each subset of modalities occurs where a model is to be used."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from nnunet_missingmod.errors import listed
from nnunet_missingmod.evaluation.aggregation import Column, ordered_subsets
from nnunet_missingmod.modalities import Subset, subset_name

HEADING = "average weighted by prevalence"


def check_prevalence(counts: Mapping[Subset, float], evaluated: Collection[Subset], modalities: Sequence[str]) -> None:
    """Check that every subset that occurs is evaluated: a mean over the others would be of another place.

    Raises:
        ValueError: some are not; they are named with their share.
    """
    left_out = [subset for subset in counts if subset not in set(evaluated)]
    if left_out:
        share = sum(counts[subset] for subset in left_out) / sum(counts.values())
        names = [subset_name(subset, modalities) for subset in left_out]
        raise ValueError(
            f"--prevalence: {listed(names)} ({100 * share:.3g} % of the counts) would not be evaluated, so that "
            "the weighted mean is not defined. Evaluate these subsets too (--subsets), or take their lines out of the "
            "file."
        )


def prevalence_column(counts: Mapping[Subset, float], modalities: Sequence[str]) -> Column:
    """Return the column of the weighted mean: ``sum_s w_s m_s`` with ``w_s = count_s / sum of counts``.

    m_s is the mean over cases under subset s. It is undefined if one of the subsets that occur has no score.
    """
    subsets = tuple(ordered_subsets(modalities, scored=tuple(counts)))
    total = sum(counts.values())
    return Column(HEADING, subsets, tuple(counts[subset] / total for subset in subsets))
