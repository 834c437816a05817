"""Known patterns of missingness: the distribution of the subsets that training draws and its validation goes through.

The plans give it as probabilities of single modalities or as weights of subsets; ``subsets`` has the schemes that do
not tell modalities apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nnunet_missingmod import absence, plans_block
from nnunet_missingmod.absence import BoolArray
from nnunet_missingmod.errors import listed
from nnunet_missingmod.keys import OFF
from nnunet_missingmod.modalities import MOST_SUBSETS, subset_name
from nnunet_missingmod.training.subsets import SubsetCycle, sample_bernoulli

_GOLDEN = (5**0.5 - 1) / 2
_MOST_LINES = 16


class Pattern(Protocol):
    """A distribution of non-empty subsets of J modalities."""

    def sample(self, present: BoolArray, rng: np.random.Generator) -> BoolArray:
        """Draw what a case that has ``present`` (J,) is shown, (J,) bool: a non-empty part of it."""

    def at(self, position: int) -> BoolArray:
        """Return the subset (J,) at a position of a sequence that has each in its proportion."""

    def shares_nothing(self, present: BoolArray) -> BoolArray:
        """Return (N,) bool: the cases (N, J) that have nothing of any subset."""

    def report(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the lines that a log has about it."""


class WeightedSubsets:
    """Some subsets, with their weights.

    Of a case that has the modalities A the subset S of weight w_S shows S & A. Drawn again while that is nothing, so

        P(T | A) = sum_{S: S & A = T} w_S / sum_{S: S & A is not empty} w_S.

    A case that has nothing of any subset is shown all that it has. That is the rule of ``absence.restrict``.

    Args:
        subsets: (K, J) bool, in the order in which they are drawn, none of them empty.
        weights: (K,), finite and at least 0, not all 0; they need not add up to 1.
    """

    def __init__(self, subsets: BoolArray, weights: npt.NDArray[np.float64]) -> None:
        relative = weights / weights.max()  # of which the sum is finite
        self.subsets = subsets[relative > 0]
        self.probabilities: npt.NDArray[np.float64] = relative[relative > 0] / relative.sum()

    def sample(self, present: BoolArray, rng: np.random.Generator) -> BoolArray:
        """Draw what a case is shown; see the class."""
        fitting = np.flatnonzero((self.subsets & present).any(axis=1))
        if not len(fitting):
            return present.copy()
        chosen: BoolArray = self.subsets[fitting[_inverse(self.probabilities[fitting], rng.random())]] & present
        return chosen

    def at(self, position: int) -> BoolArray:
        """Return the subset whose part of [0, 1) holds ``(1/2 + position * (sqrt(5) - 1) / 2) mod 1``.

        The subsets divide [0, 1) by their probabilities. Multiples of the golden section are spread so evenly that of n
        positions in a row a subset has n times its probability, give or take about one or two.
        """
        chosen: BoolArray = self.subsets[_inverse(self.probabilities, (0.5 + position * _GOLDEN) % 1)]
        return chosen

    def shares_nothing(self, present: BoolArray) -> BoolArray:
        """Return (N,) bool: the cases (N, J) that have nothing of any subset."""
        return present[:, self.subsets.any(axis=0)].sum(axis=1) == 0

    def report(self, names: Sequence[str]) -> Iterator[str]:
        """Yield a line for each subset and its probability, the likeliest first; of many, the rest in one line."""
        likeliest = np.argsort(-self.probabilities, kind="stable")
        shown = likeliest if len(likeliest) <= _MOST_LINES + 1 else likeliest[:_MOST_LINES]
        for index in shown:
            subset = subset_name(np.flatnonzero(self.subsets[index]).tolist(), names)
            yield f"{100 * self.probabilities[index]:7.2f} %  {subset}"
        if rest := len(likeliest) - len(shown):
            yield f"{100 * self.probabilities[likeliest[len(shown) :]].sum():7.2f} %  {rest:,} others together"
        if never := [names[channel] for channel in np.flatnonzero(~self.subsets.any(axis=0)).tolist()]:
            yield f"WARNING: in none of them is {listed(never)}: the model will not know what to do with that."


class IndependentDropout:
    """Each modality is dropped by itself, with its own probability; drawn again while nothing is left.

    Of a case that has the modalities A the subset S of them is kept with the probability

        P(S | A) = prod_{j in S} (1 - p_j) prod_{j in A - S} p_j / (1 - prod_{j in A} p_j).

    Args:
        drop_probabilities: (J,), each in [0, 1).
    """

    def __init__(self, drop_probabilities: npt.NDArray[np.float64]) -> None:
        self.drop_probabilities = drop_probabilities
        dropped = int(np.count_nonzero(drop_probabilities))
        self._listed = _list_subsets(drop_probabilities) if 2**dropped <= MOST_SUBSETS else None

    def sample(self, present: BoolArray, rng: np.random.Generator) -> BoolArray:
        """Draw what a case is shown; see the class."""
        kept = np.zeros_like(present, dtype=bool)
        channels = np.flatnonzero(present)
        kept[channels] = sample_bernoulli(len(channels), rng, drop_probability=self.drop_probabilities[channels])
        return kept

    def at(self, position: int) -> BoolArray:
        """Return as `WeightedSubsets.at` does; where the subsets are too many to be listed, a draw of its own."""
        if self._listed is not None:
            return self._listed.at(position)
        return self.sample(np.ones(len(self.drop_probabilities), dtype=bool), np.random.default_rng(position))

    def shares_nothing(self, present: BoolArray) -> BoolArray:
        """Return (N,) bool: no case, because every modality is kept at times."""
        return np.zeros(len(present), dtype=bool)

    def report(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the lines of `WeightedSubsets`, or where there are too many subsets the modalities' probabilities."""
        if self._listed is not None:
            yield from self._listed.report(names)
            return
        likeliest = np.argsort(-self.drop_probabilities, kind="stable").tolist()
        for channel in likeliest[:_MOST_LINES]:
            yield f"{names[channel]} is dropped in {100 * self.drop_probabilities[channel]:.2f} %"
        yield f"and {len(names) - _MOST_LINES} others as often or less; together too many subsets to list"


class PatternCycle(SubsetCycle):
    """Go through the subsets of a pattern in their proportions, one per batch, without starting over at each epoch.

    A pseudo Dice that is pooled over the batches is thereby weighted as the training is.
    """

    def __init__(self, pattern: Pattern, num_modalities: int, *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(num_modalities, rank=rank, world_size=world_size)
        self._pattern = pattern

    def subset_at(self, position: int) -> BoolArray:
        """Return the pattern's subset (J,) of a batch."""
        return self._pattern.at(position)


def known_pattern(choices: Mapping[str, Any], names: Sequence[str]) -> Pattern | None:
    """Return the pattern that the choices name, or None where a word of ``modality_dropout`` or nothing is drawn by.

    Args:
        choices: the resolved ``"missingmod"`` block, in which a prevalence file was replaced by its content.
        names: the modality names, in channel order.
    """
    if choices["modality_subset"] != "all" or choices["modality_dropout"] == OFF:
        return None
    if weights := plans_block.subset_weights(choices, names):
        subsets = absence.present_of(list(weights), len(names)).numpy()
        return WeightedSubsets(subsets, np.array([float(weight) for weight in weights.values()]))
    if table := plans_block.drop_probabilities(choices, names):
        return IndependentDropout(np.array([float(table.get(channel, 0.0)) for channel in range(len(names))]))
    return None


def report_pattern(pattern: Pattern, names: Sequence[str], present: BoolArray) -> Iterator[str]:
    """Yield the lines that a training logs about its pattern.

    Args:
        pattern: what is drawn from.
        names: the modality names, in channel order.
        present: (N, J), what the training cases have.
    """
    yield "Subsets that a complete case is shown, from the plans; an incomplete one is shown what it has of them:"
    yield from pattern.report(names)
    if without := int(pattern.shares_nothing(present).sum()):
        yield (
            f"WARNING: {without} of {len(present)} training cases have nothing of any of these subsets: they are shown "
            "all that they have. Leave them out of splits_final.json, or name a subset of theirs."
        )


def _list_subsets(drop_probabilities: npt.NDArray[np.float64]) -> WeightedSubsets:
    """Return the subsets that are left with a probability above 0, each with it."""
    dropped = np.flatnonzero(drop_probabilities)
    kept = (np.arange(2 ** len(dropped))[:, np.newaxis] >> np.arange(len(dropped))) & 1 == 1  # (2^D, D)
    subsets = np.ones((len(kept), len(drop_probabilities)), dtype=bool)
    subsets[:, dropped] = kept
    of_dropped = drop_probabilities[dropped]
    weights = np.where(kept, 1 - of_dropped, of_dropped).prod(axis=1)
    something = subsets.any(axis=1)
    return WeightedSubsets(subsets[something], weights[something])


def _inverse(probabilities: npt.NDArray[np.float64], share: float) -> int:
    """Return the index at which the cumulative sum passes a share in [0, 1) of the whole."""
    cumulative = np.cumsum(probabilities)
    found = int(np.searchsorted(cumulative, share * cumulative[-1], side="right"))
    return min(found, len(cumulative) - 1)
