"""Aggregates score rows into one value per case and subset, and defines the table columns that average subsets.

The statistics, the report's tables and the model card are computed from these values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, isnan, nan

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.conventions import AUTO, DICE, NSD, Convention, Metric, choose_convention
from nnunet_missingmod.evaluation.score_grid import ScoreGrid, grid_of, owners_of
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import Subset, all_subsets, by_size, subset_name

# The column order of the missing-modality literature on BraTS, from RFNet (Ding et al. 2021) on.
_BRATS_ORDER = (
    ("flair",),
    ("t2",),
    ("t1ce",),
    ("t1",),
    ("t2", "flair"),
    ("t1ce", "flair"),
    ("t1ce", "t2"),
    ("t1", "flair"),
    ("t1", "t2"),
    ("t1", "t1ce"),
    ("flair", "t1ce", "t2"),
    ("flair", "t1", "t2"),
    ("flair", "t1", "t1ce"),
    ("t1", "t1ce", "t2"),
    ("flair", "t1", "t1ce", "t2"),
)


@dataclass(frozen=True)
class Column:
    """A column of a table: the mean over ``subsets`` of the mean over cases.

    With ``weights``, one for each subset and 1 in sum, it is a weighted mean over the subsets; no test is made of it.
    """

    heading: str
    subsets: tuple[Subset, ...]
    weights: tuple[float, ...] = ()

    def weights_of(self, regions: int) -> NDArray[np.float64] | None:
        """Return the weights of the columns of `CaseValues.of` for so many regions; None if all are alike."""
        return np.tile(np.asarray(self.weights) / regions, regions) if self.weights else None

    def is_subset_of(self, modalities: Sequence[str]) -> bool:
        """Return whether the column is a single subset under its own name, which tables then show by dots."""
        return len(self.subsets) == 1 and self.heading == subset_name(self.subsets[0], modalities)


def ordered_subsets(modalities: Sequence[str], *, scored: Collection[Subset] | None = None) -> list[Subset]:
    """Return every subset of channels in the order of the papers' columns; with ``scored``, only those.

    For FLAIR, T1, T1ce and T2 (in any channel order, in upper or lower case) the order is: the single modalities FLAIR,
    T2, T1ce, T1; the pairs; all but T1, all but T1ce, all but T2, all but FLAIR; all four. For other modalities it is
    the order of `all_subsets`.
    """
    channel = {name.casefold(): position for position, name in enumerate(modalities)}
    if len(modalities) == 4 and set(channel) == set(_BRATS_ORDER[-1]):
        papers = [tuple(sorted(channel[name] for name in names)) for names in _BRATS_ORDER]
        return [subset for subset in papers if scored is None or subset in scored]
    if scored is not None:
        return by_size(scored)
    return all_subsets(len(modalities))


def subset_columns(modalities: Sequence[str], *, scored: Collection[Subset] | None = None) -> tuple[Column, ...]:
    """Return a column for every subset, in the order of `ordered_subsets`, and their average.

    With ``scored``, only those subsets have a column, and the average's heading tells their number.
    """
    subsets = ordered_subsets(modalities, scored=scored)
    single = [Column(subset_name(subset, modalities), (subset,)) for subset in subsets]
    is_complete = len(subsets) == 2 ** len(modalities) - 1
    return (*single, Column("average" if is_complete else f"average of {len(subsets)}", tuple(subsets)))


def count_columns(modalities: Sequence[str], *, scored: Collection[Subset] | None = None) -> tuple[Column, ...]:
    """Return a column for every number of present modalities, averaging the subsets of that size, and the average.

    With ``scored``, a column is left out if one of its subsets was not scored, because it would average other subsets
    than the same column elsewhere.
    """
    count = len(modalities)
    subsets = all_subsets(count) if scored is None else by_size(scored)
    of_size = Counter(map(len, subsets))
    columns = [
        Column(f"{size} of {count}", tuple(subset for subset in subsets if len(subset) == size))
        for size in sorted(of_size)
        if of_size[size] == comb(count, size)
    ]
    if len(subsets) == 2**count - 1:
        columns.append(Column("average", tuple(subsets)))
    return tuple(columns)


@dataclass(frozen=True)
class CaseValues:
    """The values of one metric: for each model and region an array (cases, subsets), NaN where no score is defined.

    ``cases`` are sorted. ``subsets`` are those of the rows in the order of `all_subsets`, models and regions in the
    order of their first rows.
    """

    metric: Metric
    convention: Convention
    modalities: tuple[str, ...]
    models: tuple[str, ...]
    regions: tuple[str, ...]
    cases: tuple[str, ...]
    subsets: tuple[Subset, ...]
    arrays: Mapping[tuple[str, str], NDArray[np.float64]]
    nsd_tolerance_mm: float
    bounds: tuple[float, float]
    """The least and the largest value that the metric can have in these images."""
    unruled: tuple[str, ...] = ()
    """The models of whose rows some have no sizes: what their empty masks score is what their files say."""

    @property
    def scored(self) -> tuple[Subset, ...]:
        """The subsets for which at least one model has a defined score, or all if none has any."""
        defined = np.any([~np.isnan(array).all(axis=0) for array in self.arrays.values()], axis=0)
        return tuple(subset for subset, has in zip(self.subsets, defined, strict=True) if has) or self.subsets

    def owners(self, patients: Mapping[str, str] | None) -> list[str]:
        """Return the patient of each case: see `owners_of`."""
        return owners_of(self.cases, patients)

    def of(self, model: str, regions: Sequence[str], subsets: Sequence[Subset]) -> NDArray[np.float64]:
        """Return the values of a model as an array (cases, regions times subsets), NaN for a subset without rows."""
        position = {subset: index for index, subset in enumerate(self.subsets)}
        channels = [position.get(tuple(sorted(subset)), -1) for subset in subsets]
        unscored = np.full((len(self.cases), 1), np.nan)
        return np.concatenate(
            [np.append(self.arrays[model, region], unscored, axis=1)[:, channels] for region in regions], axis=1
        )

    def difference(
        self, model: str, baseline: str, regions: Sequence[str], subsets: Sequence[Subset]
    ) -> NDArray[np.float64]:
        """Return model minus baseline like `of`, NaN wherever one of the two has no score."""
        return self.of(model, regions, subsets) - self.of(baseline, regions, subsets)


def pool(
    rows: Iterable[ScoreRow] | ScoreGrid,
    *,
    modalities: Sequence[str],
    metric: Metric = DICE,
    convention: Convention | None = None,
) -> CaseValues:
    """Return the values of every case, each case once; ``convention`` is by default the one that suits the regions.

    The cases of cross-validation folds are pooled. If several folds or seeds of a model scored the same case, as on a
    test set, their defined values are averaged, so that the case is a single observation. Who pools several metrics of
    the same rows makes their grid once, with `grid_of`.

    Raises:
        ValueError: surface Dice was computed at different tolerances, or as for `grid_of`.
    """
    grid = rows if isinstance(rows, ScoreGrid) else grid_of(rows, modalities)
    used = choose_convention(AUTO, grid.regions)[0] if convention is None else convention
    tolerances = {row.nsd_tolerance_mm for row in grid.rows}
    if metric == NSD and len(tolerances) > 1:
        raise ValueError(f"Surface Dice at different tolerances is not comparable: {sorted(tolerances)} mm.")
    means = grid.mean([used.value(row, metric) for row in grid.rows])
    return CaseValues(
        metric=metric,
        convention=used,
        modalities=grid.modalities,
        models=grid.models,
        regions=grid.regions,
        cases=grid.cases,
        subsets=grid.subsets,
        arrays={
            (model, region): means[of_model, of_region]
            for of_model, model in enumerate(grid.models)
            for of_region, region in enumerate(grid.regions)
        },
        nsd_tolerance_mm=min(tolerances),
        unruled=tuple(sorted({row.model for row in grid.rows if not row.has_sizes}, key=grid.models.index)),
        bounds=used.bounds(
            metric,
            diagonal_mm=max((row.diagonal_mm for row in grid.rows if not isnan(row.diagonal_mm)), default=nan),
            largest=float(np.max(means, initial=0.0, where=~np.isnan(means))),
        ),
    )
