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

# Folds, seeds and cases; whether each fold has cases of its own.
STUDIES = (
    *((1, seeds, cases, False) for seeds in (2, 3, 5) for cases in (12, 20, 36, 60, 100)),
    (3, 3, 20, False),
    (5, 2, 60, False),
    (2, 2, 60, True),
    (3, 1, 57, True),
    (5, 1, 20, True),
    (5, 1, 60, True),
    (5, 2, 60, True),
)
# Variance of the mean that comes from cases, and from trainings.
SPREADS = {
    "cases alone": (1.0, 0.0),
    "a quarter trainings": (1.0, 1 / 3),
    "half": (1.0, 1.0),
    "ten elevenths": (0.1, 1.0),
}


def coverage(
    folds: int, seeds: int, cases: int, spread: tuple[float, float], *, own_cases: bool, repetitions: int, seed: int = 0
) -> float:
    """Return the share of simulated studies whose interval holds 0, the true difference."""
    generator = np.random.default_rng(seed)
    of_cases, of_trainings = spread
    trainings = folds * seeds
    of_fold = np.sqrt(of_trainings * folds / 2) if folds > 1 else 0.0
    of_seed = np.sqrt(of_trainings * trainings / (2 if folds > 1 else 1))
    rest = np.sqrt(0.1 * cases * trainings)
    inside = 0
    for _ in range(repetitions):
        values = np.sqrt(of_cases * cases) * generator.normal(size=cases) + of_fold * generator.normal(
            size=(folds, 1, 1)
        )
        values = values + of_seed * generator.normal(size=(folds, seeds, 1))
        values = values + rest * generator.normal(size=(folds, seeds, cases))
        if own_cases:
            values[(np.arange(cases) % folds != np.arange(folds)[:, None])[:, None].repeat(seeds, axis=1)] = np.nan
        found = over_trainings_and_cases(values)
        inside += found.low <= 0 <= found.high
    return inside / repetitions


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1500)
    repetitions = parser.parse_args().repetitions
    print(f"| folds | seeds | cases | {' | '.join(SPREADS)} |\n| --- | --: | --: |{' --: |' * len(SPREADS)}")
    for folds, seeds, cases, own_cases in STUDIES:
        found = [
            coverage(folds, seeds, cases, spread, own_cases=own_cases, repetitions=repetitions)
            for spread in SPREADS.values()
        ]
        of_fold = f"{folds}, own cases" if own_cases else str(folds)
        print(f"| {of_fold} | {seeds} | {cases} | {' | '.join(f'{100 * share:.1f}' for share in found)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
