"""Aggregates score rows into one value per case and subset, and defines the table columns that average subsets.

The statistics, the report's tables and the model card are computed from these values.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, isnan
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_missingmod.evaluation.conventions import AUTO, DICE, NSD, Convention, Metric, choose_convention
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import Subset, all_subsets, by_size, choose_subsets, subset_name

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

    @property
    def scored(self) -> tuple[Subset, ...]:
        """The subsets for which at least one model has a defined score, or all if none has any."""
        defined = np.any([~np.isnan(array).all(axis=0) for array in self.arrays.values()], axis=0)
        return tuple(subset for subset, has in zip(self.subsets, defined, strict=True) if has) or self.subsets

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
    rows: Iterable[ScoreRow],
    *,
    modalities: Sequence[str],
    metric: Metric = DICE,
    convention: Convention | None = None,
) -> CaseValues:
    """Return the values of every case, each case once; ``convention`` is by default the one that suits the regions.

    The cases of cross-validation folds are pooled. If several folds or seeds of a model scored the same case, as on a
    test set, their defined values are averaged, so that the case is a single observation.

    Raises:
        ValueError: there are no rows, a prediction is scored twice, a subset does not belong to the modalities, or
            surface Dice was computed at different tolerances.
    """
    rows = list(rows)
    used = choose_convention(AUTO, {row.region for row in rows})[0] if convention is None else convention
    names = tuple(modalities)
    subset_of: dict[str, Subset] = {}
    runs: defaultdict[tuple[str, str, str, str], dict[str, float]] = defaultdict(dict)
    models: dict[str, None] = {}
    regions: dict[str, None] = {}
    tolerances = set()
    for row in rows:
        if row.subset not in subset_of:
            try:
                subset_of[row.subset] = _named_subset(row.subset, names)
            except ValueError as error:
                raise ValueError(f"{row.case}: {error}") from error
        of_case = runs[row.model, row.region, row.case, row.subset]
        if row.fold in of_case:
            raise ValueError(
                f"{row.model}, fold {row.fold!r}, {row.case}, {row.subset}, {row.region} is scored twice: keep one of "
                "the rows, or tell the runs apart by their fold."
            )
        of_case[row.fold] = used.value(row, metric)
        models.setdefault(row.model)
        regions.setdefault(row.region)
        tolerances.add(row.nsd_tolerance_mm)
    if not runs:
        raise ValueError("There are no score rows to aggregate.")
    if metric == NSD and len(tolerances) > 1:
        raise ValueError(f"Surface Dice at different tolerances is not comparable: {sorted(tolerances)} mm.")

    cases = tuple(sorted({case for _, _, case, _ in runs}))
    positions = {case: index for index, case in enumerate(cases)}
    subsets = by_size(subset_of.values())
    columns = {subset_name(subset, names): index for index, subset in enumerate(subsets)}
    arrays: dict[tuple[str, str], NDArray[Any]] = {
        (model, region): np.full((len(cases), len(subsets)), np.nan) for model in models for region in regions
    }
    for (model, region, case, subset), of_run in runs.items():
        defined = [value for _, value in sorted(of_run.items()) if not isnan(value)]
        if defined:
            arrays[model, region][positions[case], columns[subset]] = fmean(defined)
    return CaseValues(
        metric=metric,
        convention=used,
        modalities=names,
        models=tuple(models),
        regions=tuple(regions),
        cases=cases,
        subsets=tuple(subsets),
        arrays=arrays,
        nsd_tolerance_mm=min(tolerances),
    )
