"""Tidy scores of predictions: one row per model, fold, case, subset of modalities and region, kept in a CSV file.

What ``scoring`` measures comes in; tables, figures and statistics are made from the rows, so that every method is
scored by one piece of code. Rows hold raw measurements; what an empty mask scores is decided when they are aggregated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, nan
from pathlib import Path

from nnunet_missingmod.evaluation.csv_rows import read_rows, write_rows
from nnunet_missingmod.evaluation.scoring import UNCOUNTED, RegionScore
from nnunet_missingmod.modalities import subset_name

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
    reference_lesions: int = UNCOUNTED
    predicted_lesions: int = UNCOUNTED
    matched_lesions: int = UNCOUNTED
    lesion_dice: float = float(UNCOUNTED)

    @property
    def has_sizes(self) -> bool:
        """Whether both sizes are known, so that one can tell which masks are empty."""
        return UNKNOWN_VOXELS not in (self.reference_voxels, self.predicted_voxels)


# Columns that files of earlier versions lack.
_LATER = ("voxel_mm3", "reference_lesions", "predicted_lesions", "matched_lesions", "lesion_dice")


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
    write_rows(rows, ScoreRow, path)


def read_scores(path: Path) -> list[ScoreRow]:
    """Read what `write_scores` wrote; further columns are ignored, and columns of later versions are nan if missing.

    Raises:
        ValueError: a column is missing, or a line cannot be read; its number is named.
    """
    return read_rows(path, ScoreRow, later=_LATER)


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
    row = replace(row, predicted_voxels=0)
    if row.reference_lesions != UNCOUNTED:
        row = replace(row, predicted_lesions=0, matched_lesions=0, lesion_dice=nan)
    if row.reference_voxels == 0:
        return replace(row, dice=nan, hd95_mm=nan, nsd=nan)
    return replace(row, dice=0.0, hd95_mm=inf, nsd=0.0)
