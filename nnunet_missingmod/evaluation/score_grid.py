"""Places score rows on a grid of models, regions, cases and subsets, on which runs of one case are averaged.

``aggregation`` makes the values of a metric from it, ``volumes`` and ``detection`` those of voxel counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import Subset, by_size, choose_subsets, subset_name


@dataclass(frozen=True)
class ScoreGrid:
    """Score rows with the place of each in an array (models, regions, cases, subsets).

    ``cases`` are sorted. ``subsets`` are those of the rows in the order of `all_subsets`, models and regions in the
    order of their first rows. ``rows`` are in the order of the array, those of one place in the order of their folds.
    """

    modalities: tuple[str, ...]
    models: tuple[str, ...]
    regions: tuple[str, ...]
    cases: tuple[str, ...]
    subsets: tuple[Subset, ...]
    rows: tuple[ScoreRow, ...]
    places: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The lengths of the array's axes."""
        return len(self.models), len(self.regions), len(self.cases), len(self.subsets)

    def mean(self, values: NDArray[Any] | Sequence[float]) -> NDArray[np.float64]:
        """Return the mean over runs of one value per row, (models, regions, cases, subsets); NaN is left out.

        Where no run has a defined value, the mean is NaN.
        """
        given = np.asarray(values, np.float64)
        defined = ~np.isnan(given)
        size = int(np.prod(self.shape))
        sums = np.bincount(self.places[defined], given[defined], minlength=size)
        counts = np.bincount(self.places[defined], minlength=size)
        means = np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)
        return means.reshape(self.shape)

    def scored(self, values: NDArray[np.float64]) -> list[tuple[int, int, int]]:
        """Return the places (model, region, subset) at which a case has a value in an array as of `mean`."""
        has = ~np.isnan(values).all(axis=2)
        return [(int(model), int(region), int(subset)) for model, region, subset in np.argwhere(has)]

    def owners(self, patients: Mapping[str, str] | None) -> list[str]:
        """Return the patient of each case: see `owners_of`."""
        return owners_of(self.cases, patients)


def owners_of(cases: Sequence[str], patients: Mapping[str, str] | None) -> list[str]:
    """Return the patient of each case; a case that ``patients`` does not name is its own patient."""
    return [(patients or {}).get(case, case) for case in cases]


def grid_of(rows: Iterable[ScoreRow], modalities: Sequence[str]) -> ScoreGrid:
    """Return the grid of score rows.

    Raises:
        ValueError: there are no rows, a prediction is scored twice, or a subset does not belong to the modalities.
    """
    given = list(rows)
    names = tuple(modalities)
    if not given:
        raise ValueError("There are no score rows to aggregate.")
    subset_of: dict[str, Subset] = {}
    for row in given:
        if row.subset not in subset_of:
            try:
                subset_of[row.subset] = _named_subset(row.subset, names)
            except ValueError as error:
                raise ValueError(f"{row.case}: {error}") from error
    models, regions = (tuple(dict.fromkeys(getattr(row, name) for row in given)) for name in ("model", "region"))
    cases, folds = (sorted({getattr(row, name) for row in given}) for name in ("case", "fold"))
    subsets = by_size(subset_of.values())
    position = {subset: index for index, subset in enumerate(subsets)}
    by_name = {name: position[subset] for name, subset in subset_of.items()}
    of_model, of_region, of_case, of_fold = (
        {name: index for index, name in enumerate(of_axis)} for of_axis in (models, regions, cases, folds)
    )
    places = np.array(
        [
            ((of_model[row.model] * len(regions) + of_region[row.region]) * len(cases) + of_case[row.case])
            * len(subsets)
            + by_name[row.subset]
            for row in given
        ],
        np.int64,
    )
    runs = places * len(folds) + np.array([of_fold[row.fold] for row in given], np.int64)
    order = np.argsort(runs, kind="stable")
    twice = np.flatnonzero(np.diff(runs[order]) == 0)
    if len(twice):
        row = given[order[twice[0]]]
        raise ValueError(
            f"{row.model}, fold {row.fold!r}, {row.case}, {row.subset}, {row.region} is scored twice: keep one of "
            "the rows, or tell the runs apart by their fold."
        )
    ordered = tuple(given[index] for index in order)
    return ScoreGrid(names, models, regions, tuple(cases), tuple(subsets), ordered, places[order])


def _named_subset(name: str, modalities: tuple[str, ...]) -> Subset:
    """Return the channels of a subset from its `subset_name`.

    Raises:
        ValueError: it is the name of no subset.
    """
    try:
        (subset,) = choose_subsets([name], modalities)
        is_name = subset_name(subset, modalities) == name
    except ValueError:
        is_name = False
    if not is_name:
        raise ValueError(f"{name!r} is no subset of {', '.join(modalities)}.")
    return subset
