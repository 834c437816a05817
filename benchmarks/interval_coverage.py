"""Simulate how often each kind of interval of an evaluation holds the true value, for few and for many patients.

    python benchmarks/interval_coverage.py [--repetitions 4000] [--patients 6 12 20 60] [--hidden]

Draws patients from distributions whose mean, share, F1, limits or ranks are known, and counts the 95 % intervals that
hold it. Prints the table of docs/metrics.md. With 4,000 repetitions a coverage of 95 % is known to within 0.7 %.
With --hidden, intervals of so few patients that an evaluation shows none are counted, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation import intervals as mean_intervals
from nnunet_missingmod.evaluation import model_order, shares, volumes
from nnunet_missingmod.evaluation.aggregation import CaseValues, Column
from nnunet_missingmod.evaluation.conventions import BRATS, DICE
from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval
from nnunet_missingmod.evaluation.model_order import ranks
from nnunet_missingmod.evaluation.prevalence import prevalence_column
from nnunet_missingmod.evaluation.report.tables import table_of
from nnunet_missingmod.evaluation.shares import f1_interval, share_interval
from nnunet_missingmod.evaluation.volumes import limits_of_agreement

Generator = np.random.Generator
# True values, one per repetition or one for all, and the intervals.
Outcome = tuple[float, list[Interval]]
Simulation = Callable[[Generator, int, int, Bootstrap], Outcome]
Visits = Callable[[Generator, int], NDArray[np.int64]]

MISSED_MM = 373.13
HD95_LOG_MEANS = (1.5, 1.7)
LEAST, MOST = 90.0, 98.0


def mean_of(
    draw: Callable[[Generator, tuple[int, int]], NDArray[np.float64]],
    truth: float,
    *,
    skewed: bool = False,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Simulation:
    """Return the simulation of a mean over patients of one case and one column each."""

    def simulate(rng: Generator, patients: int, repetitions: int, bootstrap: Bootstrap) -> Outcome:
        drawn = draw(rng, (repetitions, patients))
        return truth, bootstrap.intervals([each[:, None] for each in drawn], skewed=skewed, bounds=bounds)

    return simulate


def missed(share: float) -> Simulation:
    """Return the simulation of the mean HD95 where a share of the cases misses the region."""
    mean = np.exp(1.5 + 0.8**2 / 2)

    def draw(rng: Generator, size: tuple[int, int]) -> NDArray[np.float64]:
        return np.where(rng.random(size) < share, MISSED_MM, rng.lognormal(1.5, 0.8, size))

    truth = share * MISSED_MM + (1 - share) * mean
    return mean_of(draw, truth, skewed=True, bounds=(0.0, MISSED_MM))


def hd95_difference(rng: Generator, size: tuple[int, int]) -> NDArray[np.float64]:
    """Two models' HD95, log-normal of 0.8, whose logarithms correlate by 0.5 over the patients."""
    common = rng.normal(size=size)
    one, two = (np.exp(mean + 0.8 * np.sqrt(0.5) * (common + rng.normal(size=size))) for mean in HD95_LOG_MEANS)
    return one - two


def made_up(share: float) -> Simulation:
    """Return the simulation of the mean volume predicted where the reference is empty, in a share of the cases."""

    def draw(rng: Generator, size: tuple[int, int]) -> NDArray[np.float64]:
        return np.where(rng.random(size) < share, rng.lognormal(0.0, 1.0, size), 0.0)

    return mean_of(draw, share * np.exp(0.5), skewed=True, bounds=(0.0, np.inf))


def dice(rng: Generator, size: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.beta(8, 1.6, size)


def several_cases(rng: Generator, patients: int, repetitions: int, bootstrap: Bootstrap) -> Outcome:
    """Two cases of each patient that are alike, and three columns, of which the last lacks every fifth case."""
    owners = [patient for patient in range(patients) for _ in range(2)]
    level = np.repeat(rng.normal(0.7, 0.1, (repetitions, patients)), 2, axis=1)
    values = level[:, :, None] + rng.normal(0, 0.05, (repetitions, 2 * patients, 3))
    values[:, ::5, 2] = np.nan
    return 0.7, bootstrap.intervals(list(values), owners, bounds=(0.0, 1.0))


def limits(which: int, visits: Visits | None = None, *, between: float = 4.0, within: float = 0.0) -> Simulation:
    """Return the simulation of the lower or the upper limit of agreement of normal differences.

    Args:
        which: 0 or 1.
        visits: how many cases each of so many patients has; by default one.
        between, within: standard deviation of patients, and of a patient's cases.
    """

    def simulate(rng: Generator, patients: int, repetitions: int, _: Bootstrap) -> Outcome:
        z = NormalDist().inv_cdf(0.975)
        found = []
        for _ in range(repetitions):
            owners = np.repeat(np.arange(patients), np.ones(patients, int) if visits is None else visits(rng, patients))
            drawn = rng.normal(1.0, between, patients)[owners] + within * rng.normal(size=len(owners))
            found.append(limits_of_agreement(drawn, owners.tolist())[which])
        return 1.0 + (-z, z)[which] * float(np.hypot(between, within)), found

    return simulate


def few_with_many(_: Generator, patients: int) -> NDArray[np.int64]:
    """Two patients have eight cases, the others one."""
    return np.where(np.arange(patients) < 2, 8, 1)


def share(probability: float) -> Simulation:
    """Return the simulation of a share with one trial per patient."""

    def simulate(rng: Generator, patients: int, repetitions: int, _: Bootstrap) -> Outcome:
        drawn = rng.random((repetitions, patients)) < probability
        return probability, [share_interval(each, np.ones(patients)) for each in drawn]

    return simulate


def pairs(probability: float, *, alike: float = 10.0) -> Simulation:
    """Return the simulation of a share with 28 trials per patient, which differ from patient to patient.

    Trials of one patient correlate by 1 / (``alike`` + 1).
    """

    def simulate(rng: Generator, patients: int, repetitions: int, _: Bootstrap) -> Outcome:
        chance = rng.beta(alike * probability, alike * (1 - probability), (repetitions, patients))
        drawn = rng.binomial(28, chance)
        return probability, [share_interval(each, np.full(patients, 28)) for each in drawn]

    return simulate


def f1(rng: Generator, patients: int, repetitions: int, _: Bootstrap) -> Outcome:
    """80 % of references have the region; it is found in 90 % of them, and predicted in 30 % of the others."""
    present = rng.random((repetitions, patients)) < 0.8
    found = np.where(present, rng.random(present.shape) < 0.9, rng.random(present.shape) < 0.3)
    intervals = [
        f1_interval(is_there & is_found, ~is_there & is_found, is_there & ~is_found)
        for is_there, is_found in zip(present, found, strict=True)
    ]
    return 2 * 0.72 / (2 * 0.72 + 0.06 + 0.08), intervals


def lesion_f1(numbers: Callable[[Generator, tuple[int, int]], NDArray[np.int64]], mean: float) -> Simulation:
    """Return the simulation of F1 of lesions: 60 % are found, more in some patients, and one is made up."""

    def simulate(rng: Generator, patients: int, repetitions: int, _: Bootstrap) -> Outcome:
        size = (repetitions, patients)
        lesions = numbers(rng, size)
        found = rng.binomial(lesions, rng.beta(6, 4, size))
        wrong = rng.poisson(1, size)
        intervals = [
            f1_interval(right, more, there - right) for right, more, there in zip(found, wrong, lesions, strict=True)
        ]
        return 1.2 * mean / (1.2 * mean + 1 + 0.4 * mean), intervals

    return simulate


def skewed_numbers(rng: Generator, size: tuple[int, int]) -> NDArray[np.int64]:
    """A few patients have very many lesions: the median is 4 to 5, the mean about 11."""
    return np.ceil(rng.lognormal(1.5, 1.3, size)).astype(np.int64)


def case_values(arrays: dict[tuple[str, str], NDArray[np.float64]], modalities: tuple[str, ...]) -> CaseValues:
    """Return Dice of one region; with two modalities, of the first alone and of both."""
    return CaseValues(
        metric=DICE,
        convention=BRATS,
        modalities=modalities,
        models=tuple(model for model, _ in arrays),
        regions=("tumour",),
        cases=tuple(str(case) for case in range(len(next(iter(arrays.values()))))),
        subsets=((0,), (0, 1))[: len(modalities)],
        arrays=arrays,
        nsd_tolerance_mm=1.0,
        bounds=(0.0, 1.0),
    )


def weighted(second: float, further: int) -> Simulation:
    """Return the simulation of a mean over two subsets, of which so many further patients lack the second.

    The second has that weight.
    """

    def simulate(rng: Generator, patients: int, repetitions: int, bootstrap: Bootstrap) -> Outcome:
        column = prevalence_column({(0,): 1 - second, (0, 1): second}, ("T1", "T2"))
        intervals = []
        for _ in range(repetitions // 4):
            level = dice(rng, (patients + further,))
            scores = np.stack([level, level + 0.05], axis=1) + rng.normal(0, 0.05, (patients + further, 2))
            scores[patients:, 1] = np.nan
            table = table_of(case_values({("a", "tumour"): scores}, ("T1", "T2")), [column], bootstrap=bootstrap)
            intervals += table.rows[0].intervals
        return 8 / 9.6 + second * 0.05, intervals

    return simulate


def rank_of(shifts: dict[str, float], truth: int) -> Simulation:
    """Return the simulation of the rank of the second one of models that are so far apart on the same patients."""

    def simulate(rng: Generator, patients: int, repetitions: int, bootstrap: Bootstrap) -> Outcome:
        intervals = []
        for _ in range(repetitions // 4):
            level = dice(rng, (patients,))
            arrays = {
                (name, "tumour"): np.clip(level + shift + rng.normal(0, 0.03, patients), None, 2)[:, None]
                for name, shift in shifts.items()
            }
            values = case_values(arrays, ("T1",))
            intervals.append(ranks(values, columns=[Column("T1", ((0,),))], bootstrap=bootstrap)[1].rank)
        return float(truth), intervals

    return simulate


SIMULATIONS: dict[str, Simulation] = {
    "mean Dice, Beta(8, 1.6)": mean_of(dice, 8 / 9.6, bounds=(0.0, 1.0)),
    "the same, 10 % of cases missed": mean_of(
        lambda rng, size: dice(rng, size) * (rng.random(size) >= 0.1), 0.9 * 8 / 9.6, bounds=(0.0, 1.0)
    ),
    "two cases of a patient, 3 subsets with gaps": several_cases,
    "mean Dice weighted by prevalence, a quarter on a subset that 3 further patients lack": weighted(0.25, 3),
    "the same, four fifths on a subset that 34 further patients lack": weighted(0.8, 34),
    "difference or gain, normal": mean_of(lambda rng, size: rng.normal(0.02, 0.05, size), 0.02),
    "difference or gain, Student's t of 3": mean_of(lambda rng, size: 0.02 + 0.04 * rng.standard_t(3, size), 0.02),
    "mean HD95, log-normal of 0.8": mean_of(
        lambda rng, size: rng.lognormal(1.5, 0.8, size), np.exp(1.5 + 0.32), skewed=True, bounds=(0.0, MISSED_MM)
    ),
    "mean HD95, log-normal of 1.2": mean_of(
        lambda rng, size: rng.lognormal(1.5, 1.2, size), np.exp(1.5 + 0.72), skewed=True, bounds=(0.0, MISSED_MM)
    ),
    "mean HD95, 10 % of cases missed": missed(0.1),
    "mean HD95, 3 % of cases missed": missed(0.03),
    "difference in HD95, log-normal of 0.8": mean_of(
        hd95_difference,
        np.exp(HD95_LOG_MEANS[0] + 0.32) - np.exp(HD95_LOG_MEANS[1] + 0.32),
        skewed=True,
        bounds=(-MISSED_MM, MISSED_MM),
    ),
    "bias of volumes, log-normal tail": mean_of(
        lambda rng, size: rng.lognormal(1.0, 0.7, size) - 4.0 + rng.normal(0, 2, size),
        np.exp(1.0 + 0.245) - 4.0,
        skewed=True,
    ),
    "false-positive volume, in 30 % of cases": made_up(0.3),
    "false-positive volume, in 10 % of cases": made_up(0.1),
    "lower limit of agreement, normal": limits(0),
    "upper limit of agreement, normal": limits(1),
    "the same, 1 to 5 cases of a patient": limits(
        1, lambda rng, patients: rng.integers(1, 6, patients), between=0.5, within=1.0
    ),
    "the same, 8 cases of two patients": limits(1, few_with_many, between=1.0, within=0.3),
    "share of 50 %": share(0.5),
    "share of 10 %": share(0.1),
    "share of 10 % of 28 pairs a patient": pairs(0.1),
    "share of 3 % of 28 pairs a patient": pairs(0.03),
    "share of 5 % of 28 pairs that are alike in a patient": pairs(0.05, alike=1.5),
    "F1 of presence, 91 %": f1,
    "F1 of lesions, 65 %": lesion_f1(lambda rng, size: 1 + rng.negative_binomial(1, 0.25, size), 4.0),
    "F1 of lesions, of which few patients have most": lesion_f1(
        skewed_numbers, float(skewed_numbers(np.random.default_rng(1), (1000, 2000)).mean())
    ),
    "rank of the middle one of three models": rank_of({"a": 0.0, "b": 0.02, "c": 0.04}, 2),
    "rank of the worse one of two that are nearly alike": rank_of({"a": 1e-5, "b": 0.0}, 2),
}


def coverage(
    simulation: Simulation, patients: int, *, repetitions: int, bootstrap: Bootstrap | None = None, seed: int = 0
) -> float:
    """Return in percent how many intervals hold the truth; NaN where none is shown for so few patients."""
    truth, intervals = simulation(
        np.random.default_rng([seed, patients]), patients, repetitions, bootstrap or Bootstrap()
    )
    shown = [each for each in intervals if not np.isnan(each.low)]
    return 100 * float(np.mean([each.low <= truth <= each.high for each in shown])) if shown else np.nan


def table(patients: Sequence[int], *, repetitions: int) -> list[str]:
    """Return the table's lines; coverage outside of 90 to 98 % is in brackets."""
    lines = [
        f"| interval of | {' | '.join(f'n = {each}' for each in patients)} |",
        "| --- |" + " --: |" * len(patients),
    ]
    for name, simulation in SIMULATIONS.items():
        cells = []
        for number in patients:
            found = coverage(simulation, number, repetitions=repetitions)
            text = f"{found:.1f}"
            cells.append("none" if np.isnan(found) else text if LEAST <= found <= MOST else f"({text})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def show_hidden() -> None:
    """Let evaluations show intervals from two patients on."""
    for module, name in (
        (mean_intervals, "SHOWN_FROM"),
        (mean_intervals, "SKEWED_FROM"),
        (model_order, "SHOWN_FROM"),
        (volumes, "SHOWN_FROM"),
        (shares, "SHARES_FROM"),
    ):
        setattr(module, name, 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--patients", type=int, nargs="+", default=[6, 12, 20, 60])
    parser.add_argument("--hidden", action="store_true", help="count intervals that an evaluation does not show, too")
    arguments = parser.parse_args()
    if arguments.hidden:
        show_hidden()
    print("\n".join(table(arguments.patients, repetitions=arguments.repetitions)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
