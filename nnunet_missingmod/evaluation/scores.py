"""Tidy scores of predictions: one row per model, fold, case, subset of modalities and region, kept in a CSV file.

What ``scoring`` measures comes in; tables, figures and statistics are made from the rows, so that every method is
scored by one piece of code. Rows hold raw measurements; what an empty mask scores is decided when they are aggregated.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import inf, nan
from operator import attrgetter
from pathlib import Path
from sys import intern
from typing import Any

from nnunet_missingmod.evaluation.scoring import RegionScore
from nnunet_missingmod.modalities import subset_name
from nnunet_missingmod.storage import write_text

UNKNOWN_VOXELS = -1
"""In place of a number of voxels where scores came without; no convention on empty masks changes such a row."""


@dataclass(frozen=True)
class ScoreRow:
    """The measurements of one region of one prediction.

    ``model`` names what is compared; ``fold`` tells its runs apart (a fold, a seed), and is what one likes if there is
    one run; ``subset`` is the `subset_name` of what the model was given. The measurements are those of `RegionScore`.
    Rows from elsewhere may have `UNKNOWN_VOXELS` for both sizes.
    """

    model: str
    fold: str
    case: str
    subset: str
    num_present: int
    region: str
    dice: float
    hd95_mm: float
    nsd: float
    nsd_tolerance_mm: float
    reference_voxels: int
    predicted_voxels: int
    diagonal_mm: float
    voxel_mm3: float = nan


_COLUMNS = tuple(field.name for field in fields(ScoreRow))
_READ: Mapping[str, Callable[[str], Any]] = {"str": intern, "int": int, "float": float}
_PARSERS = {field.name: _READ[str(field.type)] for field in fields(ScoreRow)}
_VALUES = attrgetter(*_COLUMNS)
# Columns that files of earlier versions lack.
_LATER = ("voxel_mm3",)


def score_rows(
    scores: Mapping[str, RegionScore],
    *,
    model: str,
    fold: str,
    case: str,
    subset: Sequence[int],
    modalities: Sequence[str],
) -> list[ScoreRow]:
    """Return the rows of what `CaseScorer.score` measured; ``subset`` holds channels, ``modalities`` names them."""
    name = subset_name(subset, modalities)
    return [
        ScoreRow(model, fold, case, name, len(set(subset)), region, **asdict(score)) for region, score in scores.items()
    ]


def write_scores(rows: Iterable[ScoreRow], path: Path) -> None:
    """Write rows as a CSV file with a header: full precision, undefined values as ``nan``, infinite ones as ``inf``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(map(_VALUES, rows))
    write_text(path, text.getvalue())


def read_scores(path: Path) -> list[ScoreRow]:
    """Read what `write_scores` wrote; further columns are ignored, and columns of later versions are nan if missing.

    Raises:
        ValueError: a column is missing, or a line cannot be read; its number is named.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        missing = [column for column in _COLUMNS if column not in header and column not in _LATER]
        if missing:
            raise ValueError(f"{path} lacks the column {', '.join(missing)}; expected {', '.join(_COLUMNS)}.")
        columns = [(parse, header.index(name)) for name, parse in _PARSERS.items() if name in header]
        rows: list[ScoreRow] = []
        try:
            rows.extend(ScoreRow(*(parse(line[index]) for parse, index in columns)) for line in reader if line)
        except (IndexError, ValueError) as error:
            why = "it has fewer cells than the header" if isinstance(error, IndexError) else error
            raise ValueError(f"{path}, line {reader.line_num}: {why}.") from error
    return rows


def rule_name(region: str, voxels: int) -> str:
    """Return what the region is called under the rule, ``"ET ≥ 500"``."""
    return f"{region} ≥ {voxels}"


def with_least_size(rows: Iterable[ScoreRow], *, region: str, voxels: int) -> list[ScoreRow]:
    """Return the rows, followed by those of ``region`` again with predictions below ``voxels`` taken as empty.

    The measurements tell all that is needed: no image is read. The relabelled voxels stay in every region that holds
    both labels, so that WT and TC of BraTS are what they were; a region of necrotic core alone would not be. Rows of
    `UNKNOWN_VOXELS` are left out of it.

    Raises:
        ValueError: ``voxels`` is below 1, or no row is of that region.
    """
    if voxels < 1:
        raise ValueError(f"The rule's threshold is 1 voxel or more, got {voxels}.")
    kept = list(rows)
    of_region = [row for row in kept if row.region == region]
    ruled = [_applied(row, voxels) for row in of_region if row.predicted_voxels != UNKNOWN_VOXELS]
    if not of_region:
        raise ValueError(f"There is no region {region!r}; the regions are {', '.join({r.region: 0 for r in kept})}.")
    return kept + [replace(row, region=rule_name(region, voxels)) for row in ruled]


def _applied(row: ScoreRow, voxels: int) -> ScoreRow:
    if row.predicted_voxels >= voxels or row.predicted_voxels == 0:
        return row
    if row.reference_voxels == 0:
        return replace(row, predicted_voxels=0, dice=nan, hd95_mm=nan, nsd=nan)
    return replace(row, predicted_voxels=0, dice=0.0, hd95_mm=inf, nsd=0.0)
