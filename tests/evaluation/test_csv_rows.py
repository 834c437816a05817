"""Rows come back from their file as they were, and a file that is none of theirs is refused by what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan, nan

import pytest

from nnunet_missingmod.evaluation.csv_rows import read_rows, write_rows


@dataclass(frozen=True)
class Entry:
    name: str
    count: int
    value: float
    added: float = 7.0


def test_rows_come_back_as_they_were(tmp_path):
    rows = [Entry('a,b "c"', 3, 0.1 + 0.2, -inf), Entry("", 0, nan)]
    write_rows(rows, Entry, tmp_path / "rows.csv")
    first, second = read_rows(tmp_path / "rows.csv", Entry)
    assert first == rows[0]
    assert isnan(second.value)
    write_rows([], Entry, tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text() == "name,count,value,added\n"
    assert read_rows(tmp_path / "rows.csv", Entry) == []


def test_columns_have_any_order_and_those_of_later_versions_their_defaults(tmp_path):
    (tmp_path / "rows.csv").write_text("value,other,count,name\n0.5,x,2,a\n")
    assert read_rows(tmp_path / "rows.csv", Entry, later=("added",)) == [Entry("a", 2, 0.5)]


def test_what_a_spreadsheet_makes_of_a_file_is_read(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbfname,count,value,added\r\na,2,0.5,7\r\n,,,\r\n\r\n")
    assert read_rows(tmp_path / "rows.csv", Entry) == [Entry("a", 2, 0.5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name;count;value;added\na;1;2;3\n", "separates its cells by semicolons: separate them by commas"),
        ("", "lacks the column name, count, value, added; expected name, count, value, added"),
        ("name,count,value,added\na,1,2,3\nb,1,2\n", "line 3: it has 3 cells under 4 headings"),
        ("name,count,value,added\na,1,0,9,3\n", "line 2: it has 5 cells under 4 headings"),
        ("name,count,value,added\na,one,2,3\n", "line 2: invalid literal"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, text, message):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_rows(tmp_path / "rows.csv", Entry)
