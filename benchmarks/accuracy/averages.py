"""Means of an arm's scores, and its differences from another arm.

A cell is a region and a subset. Its mean is over the cases that can give the subset, each once, whatever number of
trainings scored it. Every other mean is that of cells, each of which counts once (docs/metrics.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from intervals import over_trainings_and_cases

from nnunet_missingmod.evaluation.intervals import Interval

TRAINING = ["fold", "seed"]
CELL = ["region", "subset"]


def scores_of(rows: pd.DataFrame) -> pd.Series:
    """Return the Dice of one arm's rows, as of `tables.read_runs`, by fold, seed, case, region and subset."""
    return rows.groupby([*TRAINING, "case", *CELL])["dice"].mean()


def differences(scores: pd.Series, baseline: pd.Series) -> pd.Series:
    """Return an arm's scores minus a baseline's, in the trainings that both have; nothing if they cannot be compared.

    They are paired by case, region and subset before anything is averaged. An arm that lacks a cell which the baseline
    has in these trainings would be compared over other cells than the rest of a table.
    """
    paired = _in_every_training((scores - baseline).dropna())
    shared = baseline[baseline.index.droplevel(["case", *CELL]).isin(paired.index.droplevel(["case", *CELL]))]
    lacking = shared.groupby(CELL).size().index.difference(paired.groupby(CELL).size().index)
    return paired.iloc[:0] if len(lacking) else paired


def cell_means(scores: pd.Series) -> pd.Series:
    """Return the mean of each region and subset."""
    return scores.groupby(["case", *CELL]).mean().groupby(CELL).mean()


def training_means(scores: pd.Series) -> pd.Series:
    """Return the mean of each fold and seed, over the cells that it has."""
    return scores.groupby([*TRAINING, *CELL]).mean().groupby(TRAINING).mean()


def interval(scores: pd.Series, patients: Mapping[str, str]) -> Interval:
    """Return the mean of scores or differences, with its interval over trainings and cases.

    Args:
        scores: one or more, in which trainings of one fold have the same.
        patients: the patient of each case that is not its own.
    """
    values = _case_values(scores)
    folds, seeds, cases = (sorted(values.index.unique(level)) for level in (*TRAINING, "case"))
    every = pd.MultiIndex.from_product([folds, seeds, cases])
    array = values.reindex(every).to_numpy().reshape(len(folds), len(seeds), len(cases))
    return over_trainings_and_cases(array, [patients.get(case, case) for case in cases])


def _case_values(scores: pd.Series) -> pd.Series:
    """Return a value for each fold, seed and case, whose mean over cases, each once, is that of cells.

    With N cases, K cells of means m_k over n_k cases, and m the mean of these, the value of a case with scores y_k is
    m + N / K sum_k (y_k - m_k) / n_k: how much it moves the mean (the linear form of a sum of ratios). Where each case
    has every cell it is the case's mean.
    """
    of_cells = scores.groupby(["case", *CELL]).mean().groupby(CELL)
    means, cases = of_cells.mean(), of_cells.size()
    cells = scores.index.droplevel([*TRAINING, "case"])
    shares = (scores - means.reindex(cells).to_numpy()) / cases.reindex(cells).to_numpy()
    moves = shares.groupby([*TRAINING, "case"]).sum() * scores.index.unique("case").size / len(means)
    return means.mean() + moves


def _in_every_training(scores: pd.Series) -> pd.Series:
    """Return the scores of what all trainings of a fold have a score of: trainings are compared on the same cases."""
    seeds = scores.groupby(TRAINING).size().groupby("fold").size()
    found = scores.groupby(["fold", "case", *CELL]).transform("size")
    return scores[found == scores.index.get_level_values("fold").map(seeds)]
