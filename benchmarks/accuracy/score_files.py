"""The files of a study's scores: one row for each case, subset and region."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from nnunet_missingmod.storage import replaced_when_complete

if TYPE_CHECKING:
    from study_folder import Training

SCORES = ("split", "case", "subset", "num_present", "region", "dice")
Rows = list[tuple[Any, ...]]
# A name is text, also if it is one of digits (case 0011) or None.
_TYPES = dict.fromkeys(("arm", "split", "case", "subset", "region"), str) | {"num_present": int, "dice": float}
_UNDEFINED = {column: ["", "nan", "NaN", "NA"] for column in ("dice", "seed", "fold")}


def read_scores(file: Path) -> pd.DataFrame:
    """Return the rows of a file of scores; of its numbers only ``dice``, ``seed`` and ``fold`` may be missing.

    Raises:
        ValueError: it lacks a column, has a number that is none, or a Dice outside of 0..1; the file is named.
    """
    try:
        rows = pd.read_csv(file, dtype=_TYPES, keep_default_na=False, na_values=_UNDEFINED, encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    missing = [column for column in ("arm", *SCORES) if column not in rows and column != "split"]
    if missing:
        by = "; it separates its cells by semicolons, where commas are expected" if ";" in rows.columns[0] else ""
        raise ValueError(f"{file} lacks the column {', '.join(missing)}{by}.")
    outside = rows["dice"][(rows["dice"] < 0) | (rows["dice"] > 1)]
    if len(outside):
        raise ValueError(f"{file} has a Dice of {outside.iloc[0]:g}, which is to be a share from 0 to 1.")
    return rows


def write_scores(target: Path, training: Training, rows: Rows, *more: str) -> None:
    """Write a training's rows of scores, which more columns may precede."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("arm", "seed", "fold", *more, *SCORES))
    writer.writerows((training.arm, training.seed, training.fold, *row) for row in rows)
    content = text.getvalue().encode()
    # Without a time stamp, so that the same scores are the same file.
    with replaced_when_complete(target) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)
