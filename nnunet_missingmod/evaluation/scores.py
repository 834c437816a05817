"""Tidy scores of predictions: one row per model, fold, case, subset of modalities and region, kept in a CSV file.

Label maps or their files come in; tables, figures and statistics are made from the rows, so that every method is scored
by this one piece of code. Rows hold raw measurements; what an empty mask scores is decided when they are aggregated.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, fields, replace
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from nnunet_missingmod.evaluation.metrics import DEFAULT_TOLERANCE_MM
from nnunet_missingmod.evaluation.scoring import CaseScorer, RegionScore, check_same_grid, read_label_map
from nnunet_missingmod.modalities import all_subsets, subset_name
from nnunet_missingmod.storage import write_text


@dataclass(frozen=True)
class ScoreRow:
    """The measurements of one region of one prediction.

    ``model`` names what is compared; ``fold`` tells its runs apart (a fold, a seed), and is what one likes if there is
    one run; ``subset`` is the `subset_name` of what the model was given. The measurements are those of `RegionScore`.
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


_COLUMNS = tuple(field.name for field in fields(ScoreRow))
_READ = {"str": str, "int": int, "float": float}
_PARSERS = {field.name: _READ[str(field.type)] for field in fields(ScoreRow)}


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


class Scoring(NamedTuple):
    """Rows of what could be scored; why each of the others could not, by (case, subset name)."""

    rows: list[ScoreRow]
    refused: dict[tuple[str, str], str]


def score_predictions(
    predictions: Mapping[tuple[str, str], Path],
    references: Path,
    regions: Mapping[str, Sequence[int]],
    *,
    model: str,
    fold: str = "",
    modalities: Sequence[str],
    file_ending: str = ".nii.gz",
    ignore_label: int | None = None,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    jobs: int = 1,
) -> Scoring:
    """Score prediction files, keyed by (case, subset name), against ``references/<case><file_ending>``.

    A file that is missing or unreadable, or that lies on another grid than its reference, is refused by name and costs
    no other. Rows are ordered by case, then as the subsets are in `all_subsets`, then as ``regions``; ``tolerance_mm``
    is that of the surface Dice. ``jobs`` counts threads, which suffice: reading files, comparing voxels and measuring
    distances run outside of Python's lock.

    Raises:
        ValueError: a subset name is none of the modalities', there are no regions, or ``jobs`` is below 1.
    """
    if not regions:
        raise ValueError("There are no regions to score: see dataset_regions.")
    if jobs < 1:
        raise ValueError(f"jobs counts threads, 1 or more, got {jobs}.")
    channels = {subset_name(subset, modalities): subset for subset in all_subsets(len(modalities))}
    by_case: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    for case, subset in predictions:
        if subset not in channels:
            example = list(channels)[-1]
            raise ValueError(
                f"{case}: {subset!r} is no subset of {', '.join(modalities)}; expected for example {example!r}."
            )
    order = {name: position for position, name in enumerate(channels)}
    for case, subset in sorted(predictions, key=lambda key: (key[0], order[key[1]])):
        by_case[case][subset] = predictions[case, subset]

    score = partial(
        _score_case,
        references=references,
        regions=regions,
        file_ending=file_ending,
        ignore_label=ignore_label,
        tolerance_mm=tolerance_mm,
    )
    scoring = Scoring([], {})
    with ThreadPoolExecutor(jobs) as pool:
        results = pool.map(score, by_case, by_case.values())
        for case, (scores, refused) in zip(by_case, tqdm(results, "scoring", len(by_case), disable=None), strict=True):
            scoring.refused.update({(case, subset): reason for subset, reason in refused.items()})
            for subset, by_region in scores.items():
                given = channels[subset]
                scoring.rows.extend(
                    score_rows(by_region, model=model, fold=fold, case=case, subset=given, modalities=modalities)
                )
    return scoring


def _score_case(
    case: str,
    files: Mapping[str, Path],
    *,
    references: Path,
    regions: Mapping[str, Sequence[int]],
    file_ending: str,
    ignore_label: int | None,
    tolerance_mm: float,
) -> tuple[dict[str, dict[str, RegionScore]], dict[str, str]]:
    """Score every subset's file of one case; the reference is read and prepared once."""
    try:
        reference = read_label_map(references / f"{case}{file_ending}")
    except ValueError as error:
        return {}, {subset: f"{case}: its reference: {error}" for subset in files}
    scorer = CaseScorer(
        reference.labels, reference.spacing_mm, regions, ignore_label=ignore_label, tolerance_mm=tolerance_mm
    )
    scores: dict[str, dict[str, RegionScore]] = {}
    refused: dict[str, str] = {}
    for subset, file in files.items():
        try:
            prediction = read_label_map(file)
            check_same_grid(prediction, reference, case=case)
        except ValueError as error:
            refused[subset] = f"{case} with {subset}: {error}"
            continue
        scores[subset] = scorer.score(prediction.labels)
    return scores, refused


def write_scores(rows: Iterable[ScoreRow], path: Path) -> None:
    """Write rows as a CSV file with a header: full precision, undefined values as ``nan``, infinite ones as ``inf``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(astuple(row) for row in rows)
    write_text(path, text.getvalue())


def read_scores(path: Path) -> list[ScoreRow]:
    """Read what `write_scores` wrote; further columns are ignored.

    Raises:
        ValueError: a column is missing, or a line cannot be read; its number is named.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or [])]
        if missing:
            raise ValueError(f"{path} lacks the column {', '.join(missing)}; expected {', '.join(_COLUMNS)}.")
        rows: list[ScoreRow] = []
        try:
            rows.extend(ScoreRow(**{name: parse(line[name]) for name, parse in _PARSERS.items()}) for line in reader)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}.") from error
    return rows


def rule_name(region: str, voxels: int) -> str:
    """Return what the region is called under the rule, ``"ET ≥ 500"``."""
    return f"{region} ≥ {voxels}"


def with_least_size(rows: Iterable[ScoreRow], *, region: str, voxels: int) -> list[ScoreRow]:
    """Return the rows, followed by those of ``region`` again with predictions below ``voxels`` taken as empty.

    The measurements tell all that is needed: no image is read. The relabelled voxels stay in every region that holds
    both labels, so that WT and TC of BraTS are what they were; a region of necrotic core alone would not be.

    Raises:
        ValueError: ``voxels`` is below 1, or no row is of that region.
    """
    if voxels < 1:
        raise ValueError(f"The rule's threshold is 1 voxel or more, got {voxels}.")
    kept = list(rows)
    ruled = [_applied(row, voxels) for row in kept if row.region == region]
    if not ruled:
        raise ValueError(f"There is no region {region!r}; the regions are {', '.join({r.region: 0 for r in kept})}.")
    return kept + [replace(row, region=rule_name(region, voxels)) for row in ruled]


def _applied(row: ScoreRow, voxels: int) -> ScoreRow:
    if row.predicted_voxels >= voxels or row.predicted_voxels == 0:
        return row
    if row.reference_voxels == 0:
        return replace(row, predicted_voxels=0, dice=nan, hd95_mm=nan, nsd=nan)
    return replace(row, predicted_voxels=0, dice=0.0, hd95_mm=inf, nsd=0.0)
