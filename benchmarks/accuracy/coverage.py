"""Simulate how often the study's 95 % intervals hold the true difference.

    python benchmarks/accuracy/coverage.py [--repetitions 1500]

A difference is the sum of what is a case's, a fold's, a seed's, and a rest, all normal with mean 0. A row is a number
of folds, seeds and cases; a column says how much of the mean's variance comes from trainings, not from cases.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from intervals import over_trainings_and_cases
from numpy.typing import NDArray

# What a fold has: all cases, cases that no other fold has, or a fifth of all, drawn for each fold.
ALL, OWN, DRAWN = "all", "own", "drawn"
# Folds, seeds, cases, and which of them a fold has.
STUDIES = (
    *((1, seeds, cases, ALL) for seeds in (2, 3, 5) for cases in (12, 20, 36, 60, 100)),
    (3, 3, 20, ALL),
    (5, 2, 60, ALL),
    (2, 2, 60, OWN),
    (3, 1, 57, OWN),
    (5, 1, 20, OWN),
    (5, 1, 60, OWN),
    (5, 2, 60, OWN),
    (3, 1, 285, DRAWN),
    (3, 3, 285, DRAWN),
    (10, 1, 60, DRAWN),
)
# Variance of the mean that comes from cases, and from trainings.
SPREADS = {
    "cases alone": (1.0, 0.0),
    "a quarter trainings": (1.0, 1 / 3),
    "half": (1.0, 1.0),
    "ten elevenths": (0.1, 1.0),
}


def cases_of_folds(has: str, folds: int, cases: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return which cases each fold has, an array (folds, cases)."""
    if has == OWN:
        return np.arange(cases) % folds == np.arange(folds)[:, None]
    share = cases if has == ALL else cases // 5
    return np.array([generator.permutation(cases) < share for _ in range(folds)])


def coverage(
    folds: int, seeds: int, cases: int, spread: tuple[float, float], *, has: str, repetitions: int, seed: int = 0
) -> float:
    """Return the share of simulated studies whose interval holds 0, the true difference."""
    generator = np.random.default_rng(seed)
    of_cases, of_trainings = spread
    trainings = folds * seeds
    of_fold = np.sqrt(of_trainings * folds / 2) if folds > 1 else 0.0
    of_seed = np.sqrt(of_trainings * trainings / (2 if folds > 1 else 1))
    inside = 0
    for _ in range(repetitions):
        there = cases_of_folds(has, folds, cases, generator)
        scored = there.any(0).sum()
        values = np.sqrt(of_cases * scored) * generator.normal(size=cases) + of_fold * generator.normal(
            size=(folds, 1, 1)
        )
        values = values + of_seed * generator.normal(size=(folds, seeds, 1))
        values = values + np.sqrt(0.1 * scored * trainings) * generator.normal(size=(folds, seeds, cases))
        values[~there[:, None].repeat(seeds, axis=1)] = np.nan
        found = over_trainings_and_cases(values)
        inside += found.low <= 0 <= found.high
    return inside / repetitions


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1500)
    repetitions = parser.parse_args().repetitions
    print(f"| folds | seeds | cases | {' | '.join(SPREADS)} |\n| --- | --: | --: |{' --: |' * len(SPREADS)}")
    for folds, seeds, cases, has in STUDIES:
        found = [coverage(folds, seeds, cases, spread, has=has, repetitions=repetitions) for spread in SPREADS.values()]
        of_fold = str(folds) if has == ALL else f"{folds}, {has} cases"
        print(f"| {of_fold} | {seeds} | {cases} | {' | '.join(f'{100 * share:.1f}' for share in found)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
