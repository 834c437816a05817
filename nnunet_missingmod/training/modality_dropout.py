"""Which modalities a training case is shown: a random non-empty subset of those it has.

Only the drawing is here; ``absence.mark`` removes what was not drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnunet_missingmod.absence import BoolArray

Sampler = Callable[[int, np.random.Generator], BoolArray]


def sample_uniform(num_present: int, rng: np.random.Generator) -> BoolArray:
    """Draw one of the ``2**n - 1`` non-empty subsets of n modalities, each with the same probability; (n,) bool."""
    index = int(rng.integers(1, 2**num_present))
    return (index >> np.arange(num_present)) & 1 == 1


def sample_uniform_count(num_present: int, rng: np.random.Generator) -> BoolArray:
    """Draw a size k uniformly from 1..n, then one of the subsets of that size uniformly; (n,) bool."""
    size = int(rng.integers(1, num_present + 1))
    kept = np.zeros(num_present, dtype=bool)
    kept[rng.permutation(num_present)[:size]] = True
    return kept


def sample_bernoulli(num_present: int, rng: np.random.Generator, *, drop_probability: float) -> BoolArray:
    """Drop each of n modalities with the given probability, conditioned on keeping at least one; (n,) bool.

    Conditioned exactly, by drawing again while nothing is kept.
    """
    while True:
        kept: BoolArray = rng.random(num_present) >= drop_probability
        if kept.any():
            return kept


class ModalityDropout:
    """Draw, for each case of a batch, the modalities that the network gets to see.

    The draws of an epoch depend only on (seed, rank, epoch): a resumed training continues as it would have, and each
    process of a distributed training draws its own.

    Raises:
        ValueError: the scheme is unknown, or the drop probability is not in [0, 1).
    """

    def __init__(self, scheme: str, *, drop_probability: float = 0.5, seed: int = 0, rank: int = 0) -> None:
        if not 0 <= drop_probability < 1:
            raise ValueError(f"The drop probability must be in [0, 1), got {drop_probability}.")
        samplers: dict[str, Sampler] = {
            "uniform": sample_uniform,
            "uniform_count": sample_uniform_count,
            "bernoulli": lambda n, rng: sample_bernoulli(n, rng, drop_probability=drop_probability),
        }
        if scheme not in samplers:
            raise ValueError(f"Unknown modality dropout {scheme!r}; known are {', '.join(samplers)}.")
        self._sampler = samplers[scheme]
        self._seed = seed
        self._rank = rank
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Begin the sequence of draws of an epoch."""
        self._rng = np.random.default_rng([self._seed, self._rank, epoch])

    def sample(self, present: BoolArray) -> BoolArray:
        """Return ``kept`` (B, J): for each case a non-empty subset of the modalities it has.

        Args:
            present: (B, J) bool.

        Raises:
            ValueError: a case has no modality at all.
        """
        kept = np.zeros_like(present, dtype=bool)
        for case, has in enumerate(present):
            channels = np.flatnonzero(has)
            if not len(channels):
                raise ValueError(f"Case {case} of the batch has no modality.")
            kept[case, channels] = self._sampler(len(channels), self._rng)
        return kept
