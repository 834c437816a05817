"""Rows are whole lines, whatever happened before and whoever else appends."""

from __future__ import annotations

import json
import resource
from concurrent.futures import ThreadPoolExecutor

import pytest

from nnunet_missingmod.inference.batch import append_row


def test_rows_are_json_lines_in_the_order_of_writing(tmp_path):
    file = tmp_path / "rows.jsonl"
    for number in range(3):
        append_row(file, {"case": f"Ä{number}\n", "number": number})
    assert [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] == [
        {"case": f"Ä{number}\n", "number": number} for number in range(3)
    ]


def test_row_after_a_torn_one_is_whole(tmp_path):
    file = tmp_path / "rows.jsonl"
    append_row(file, {"case": "first"})
    with file.open("a") as stream:
        stream.write('{"case": "sec')
    append_row(file, {"case": "third"})
    lines = file.read_text().splitlines()
    assert [json.loads(lines[0]), json.loads(lines[2])] == [{"case": "first"}, {"case": "third"}]
    assert lines[1] == '{"case": "sec'


def test_many_writers_do_not_mix_their_rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append_row(file, {"number": number, "long": "x" * 3000}), range(64)))
    numbers = [json.loads(line)["number"] for line in file.read_text().splitlines() if line]
    assert sorted(numbers) == list(range(64))


def test_row_that_the_disk_cuts_off_is_an_error_and_the_next_one_is_whole(tmp_path):
    file = tmp_path / "rows.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, limits[1]))
    try:
        with pytest.raises(OSError, match="Only 5 of 17 bytes could be appended"):
            append_row(file, {"case": "long"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    append_row(file, {"case": "next"})
    assert file.read_text().splitlines() == ['{"cas', '{"case": "next"}']
