"""Which subset of its modalities a case is shown: drawn at random in training, the next of all in validation.

Only the drawing is here; ``absence.mark`` removes what was not drawn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import comb, gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_missingmod.absence import BoolArray
from nnunet_missingmod.modalities import MOST_SUBSETS, Subset

Sampler = Callable[[BoolArray, np.random.Generator], BoolArray]
"""Draws ``kept`` (J,) for a case that has ``present`` (J,)."""
_CountSampler = Callable[[int, np.random.Generator], BoolArray]

_MOST_REDRAWS = 100


def sample_uniform(num_present: int, rng: np.random.Generator) -> BoolArray:
    """Draw one of the ``2**n - 1`` non-empty subsets of n modalities, each with the same probability; (n,) bool."""
    if num_present < 63:
        index = int(rng.integers(1, 2**num_present))
        return (index >> np.arange(num_present)) & 1 == 1
    # The index has too many bits; this has the same distribution.
    return sample_bernoulli(num_present, rng, drop_probability=0.5)


def sample_uniform_count(num_present: int, rng: np.random.Generator) -> BoolArray:
    """Draw a size k uniformly from 1..n, then one of the subsets of that size uniformly; (n,) bool."""
    size = int(rng.integers(1, num_present + 1))
    kept = np.zeros(num_present, dtype=bool)
    kept[rng.permutation(num_present)[:size]] = True
    return kept


def sample_bernoulli(
    num_present: int, rng: np.random.Generator, *, drop_probability: float | npt.NDArray[np.float64]
) -> BoolArray:
    """Drop each of n modalities by itself, conditioned on keeping at least one; (n,) bool.

    Drawn again while nothing is kept. So with probabilities p_j the subset S is kept with the probability

        P(S) = prod_{j in S} (1 - p_j) prod_{j not in S} p_j / (1 - prod_j p_j).

    After a hundred times nothing, which takes probabilities close to 1, the same distribution is drawn from directly:
    the first that is kept, and those after it each by itself.

    Args:
        num_present: n.
        rng: what is drawn with.
        drop_probability: p_j in [0, 1): one for all, or (n,).
    """
    for _ in range(_MOST_REDRAWS):
        kept: BoolArray = rng.random(num_present) >= drop_probability
        if kept.any():
            return kept
    probabilities = np.broadcast_to(drop_probability, num_present)
    # That j is kept where none before it was: (1 - p_j) / (1 - prod_{k >= j} p_k), which is 1 for the last.
    of_rest = 1 - np.cumprod(probabilities[::-1])[::-1]
    first = int(np.argmax(rng.random(num_present) * of_rest < 1 - probabilities))
    kept = rng.random(num_present) >= probabilities
    kept[:first], kept[first] = False, True
    return kept


def _of_those_present(sample: _CountSampler) -> Sampler:
    """Return the sampler for J modalities of one that is told only how many a case has."""

    def of_case(present: BoolArray, rng: np.random.Generator) -> BoolArray:
        kept = np.zeros_like(present, dtype=bool)
        channels = np.flatnonzero(present)
        kept[channels] = sample(len(channels), rng)
        return kept

    return of_case


class ModalityDropout:
    """Draw, for each case of a batch, the modalities that the network gets to see.

    The draws of an epoch depend only on (seed, rank, epoch): a resumed training continues as it would have, and each
    process of a distributed training draws its own.

    Args:
        scheme: its name, or what draws (see `patterns`).
        drop_probability: of ``"bernoulli"``.
        seed, rank: see above.

    Raises:
        ValueError: the scheme is unknown, or the drop probability is not in [0, 1).
    """

    def __init__(self, scheme: str | Sampler, *, drop_probability: float = 0.5, seed: int = 0, rank: int = 0) -> None:
        if not 0 <= drop_probability < 1:
            raise ValueError(f"The drop probability must be in [0, 1), got {drop_probability}.")
        samplers: dict[str, _CountSampler] = {
            "uniform": sample_uniform,
            "uniform_count": sample_uniform_count,
            "bernoulli": partial(sample_bernoulli, drop_probability=drop_probability),
        }
        if isinstance(scheme, str):
            if scheme not in samplers:
                raise ValueError(f"Unknown modality dropout {scheme!r}; known are {', '.join(samplers)}.")
            scheme = _of_those_present(samplers[scheme])
        self._sampler = scheme
        self._seed = seed
        self._rank = rank
        self.start_epoch(0)

    def start_epoch(self, epoch: int, *, chance: float = 1.0) -> None:
        """Begin the sequence of draws of an epoch.

        Args:
            chance: that a case is dropped from at all; the others keep what they have.
        """
        self._rng = np.random.default_rng([self._seed, self._rank, epoch])
        self._chance = chance

    def sample(self, present: BoolArray) -> BoolArray:
        """Return ``kept`` (B, J): for each case a non-empty subset of the modalities it has.

        Args:
            present: (B, J) bool.

        Raises:
            ValueError: a case has no modality at all.
        """
        kept = np.zeros_like(present, dtype=bool)
        for case, has in enumerate(present):
            if not has.any():
                raise ValueError(f"Case {case} of the batch has no modality.")
            whole = self._chance < 1 and self._rng.random() >= self._chance
            kept[case] = has if whole else self._sampler(has, self._rng)
        return kept


class FixedSubset:
    """Keep the same modalities of every case, where `ModalityDropout` draws them.

    Args:
        channels: the numbers of those that are kept.
        names: of all channels, for the message.
    """

    def __init__(self, channels: Sequence[int], names: Sequence[str]) -> None:
        self._channels = list(channels)
        self._names = [names[channel] for channel in channels]

    def start_epoch(self, epoch: int, *, chance: float = 1.0) -> None:
        """Do nothing: nothing is drawn."""

    def sample(self, present: BoolArray) -> BoolArray:
        """Return ``kept`` (B, J), those of ``present`` that are in the subset.

        Raises:
            ValueError: a case has none of them.
        """
        kept = np.zeros_like(present, dtype=bool)
        kept[:, self._channels] = present[:, self._channels]
        if not kept.any(axis=1).all():
            raise ValueError(
                f"A training case has none of {', '.join(self._names)}, which is all that modality_subset trains on: "
                "leave such cases out of splits_final.json."
            )
        return kept


def dropout_chance(progress: float, *, start: float, end: float) -> float:
    """Return the chance that a case is dropped from: 0 before ``start``, 1 from ``end`` on, linear in between.

    Args:
        progress: share of the training that is over, as are ``start`` and ``end``.
    """
    return float(progress >= end) if end == start else float(np.clip((progress - start) / (end - start), 0, 1))


Counts = npt.NDArray[np.floating[Any]]


class SubsetCycle:
    """Go through all ``2**J - 1`` subsets, one per batch, without starting over at each epoch.

    Sizes alternate (see ``order``), so that the few subsets an epoch of a many-modality dataset reaches are still small
    and large ones. Of several processes each takes every ``world_size``-th subset. If so each would have the same ones
    for ever, each time round begins one later: nnU-Net gives each process its own share of patches with foreground.
    The subsets are not listed.
    """

    def __init__(self, num_modalities: int, *, rank: int = 0, world_size: int = 1) -> None:
        self._num_modalities = num_modalities
        self._rank = rank
        self._world_size = world_size
        self._batch = 0

    def start_epoch(self, epoch: int, *, batches_per_epoch: int) -> None:
        """Go to the first batch of an epoch."""
        self._batch = epoch * batches_per_epoch

    def next_subset(self) -> BoolArray:
        """Return the next subset as (J,) bool."""
        position = self._batch * self._world_size + self._rank
        self._batch += 1
        return self.subset_at(position)

    def subset_at(self, position: int) -> BoolArray:
        """Return the subset (J,) of a batch, which is counted from the training's first over all processes."""
        chosen = np.zeros(self._num_modalities, dtype=bool)
        period = 2**self._num_modalities - 1
        later = 0 if gcd(self._world_size, period) == 1 else position // period
        chosen[list(_alternating(self._num_modalities, (position + later) % period))] = True
        return chosen


def dice_by_count(steps: Iterable[tuple[int, Counts, Counts, Counts]]) -> dict[int, list[float]]:
    """Return {number of present modalities: [pseudo Dice per class]} of validation batches.

    Dice = 2 TP / (2 TP + FP + FN) pooled over the batches, as in nnU-Net's log; NaN where a class never occurs.

    Args:
        steps: (number of present modalities, TP, FP, FN), the latter three per class.
    """
    pooled: dict[int, Counts] = {}
    for count, tp, fp, fn in steps:
        pooled[count] = pooled.get(count, np.zeros((3, len(tp)))) + np.stack([tp, fp, fn])
    return {count: _dice(*pooled[count]) for count in sorted(pooled)}


def _dice(tp: Counts, fp: Counts, fn: Counts) -> list[float]:
    denominator = 2 * tp + fp + fn
    return [float(2 * t / d) if d else float("nan") for t, d in zip(tp, denominator, strict=True)]


def _alternating(num_modalities: int, position: int) -> Subset:
    """Return the subset at a position (0..2^J - 2) when the piles of each size are dealt in turn until all are used up.

    A pile is in lexicographic order. Where no training sees all subsets, it is gone through in even steps instead, so
    that the first subsets dealt are not those of the first channels.
    """
    piles = {size: comb(num_modalities, size) for size in range(1, num_modalities + 1)}

    def dealt(turns: int) -> int:
        return sum(min(pile, turns) for pile in piles.values())

    turn = bisect_right(range(min(max(piles.values()), position + 1) + 1), position, key=dealt) - 1
    size = [size for size, pile in piles.items() if pile > turn][position - dealt(turn)]
    if 2**num_modalities - 1 > MOST_SUBSETS:
        step = piles[size] * 618 // 1000  # about the golden section, whose multiples are spread most evenly
        while gcd(step, piles[size]) != 1:
            step += 1
        turn = turn * step % piles[size]
    return _combination(num_modalities, size, turn)


def _combination(count: int, size: int, index: int) -> Subset:
    """Return element ``index`` of ``itertools.combinations(range(count), size)``."""
    chosen: list[int] = []
    for channel in range(count):
        having = comb(count - channel - 1, size - len(chosen) - 1) if len(chosen) < size else 0
        if index < having:
            chosen.append(channel)
        else:
            index -= having
    return tuple(chosen)
