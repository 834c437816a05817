"""Rows of one dataclass as a CSV file, in full precision: how scores and agreement are kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from sys import intern
from typing import Any, TypeVar

from nnunet_missingmod.storage import write_text

Row = TypeVar("Row")

# Few texts occur in many rows.
_READ: Mapping[str, Callable[[str], Any]] = {"str": intern, "int": int, "float": float}


def write_rows(rows: Iterable[Any], kind: type, path: Path) -> None:
    """Write rows with a header: a column per field, undefined values as ``nan``, infinite ones as ``inf``.

    Args:
        rows: of the dataclass ``kind``.
        kind: its two or more fields are annotated as the texts ``str``, ``int`` and ``float``.
        path: the file, which is replaced whole.
    """
    names = [field.name for field in fields(kind)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(map(attrgetter(*names), rows))
    write_text(path, text.getvalue())


def refuse_semicolons(headings: Sequence[str], path: Path) -> None:
    """Check that the cells of a CSV file's first line are not separated by semicolons, as some spreadsheets do.

    Raises:
        ValueError: they are.
    """
    if len(headings) == 1 and ";" in headings[0]:
        raise ValueError(
            f"{path} separates its cells by semicolons: separate them by commas, and write decimals with a point."
        )


def read_rows(path: Path, kind: Callable[..., Row], *, later: Collection[str] = ()) -> list[Row]:
    """Read what `write_rows` wrote, or a spreadsheet kept of it; further columns and blank lines are ignored.

    Args:
        path: the file.
        kind: the dataclass of its rows.
        later: columns that files of earlier versions lack; they have defaults.

    Raises:
        ValueError: a column is missing, cells are separated by semicolons, or a line cannot be read or has another
            number of cells than the header; its number is named.
    """
    parsers = {field.name: _READ[str(field.type)] for field in fields(kind)}  # type: ignore[arg-type]
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        refuse_semicolons(header, path)
        missing = [column for column in parsers if column not in header and column not in later]
        if missing:
            raise ValueError(f"{path} lacks the column {', '.join(missing)}; expected {', '.join(parsers)}.")
        columns = [(parse, header.index(name)) for name, parse in parsers.items() if name in header]
        rows: list[Row] = []
        try:
            for line in filter(any, reader):
                if len(line) != len(header):
                    raise ValueError(f"it has {len(line)} cells under {len(header)} headings")
                rows.append(kind(*(parse(line[index]) for parse, index in columns)))
        except ValueError as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}.") from error
    return rows
