"""What parts of an evaluation leave, and how it is read back: nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan

import pytest
from benchmarking.some_parts import CASES, NO_ROWS, OPTIONS, agreed, part, row

from nnunet_missingmod.benchmarking.parts import Rows, margin_is_late, read_parts, share_of, write_part
from nnunet_missingmod.errors import UsageError


def test_cases_are_shared_as_nnunet_shares_them():
    assert [share_of(CASES, number, 2) for number in range(2)] == [("a", "c", "e"), ("b", "d")]
    assert share_of(CASES, 0, 1) == CASES
    assert share_of(CASES, 6, 7) == ()


def test_what_is_written_is_read_back(tmp_path):
    written = part()
    write_part(written, tmp_path, Rows([row("a", dice=nan)], [agreed("a")]))
    ((read, rows),) = read_parts(tmp_path)
    assert read == written
    assert isnan(rows.scores[0].dice)
    assert rows.agreement == [agreed("a")]
    names = {file.name for file in (tmp_path / "parts").iterdir()}
    assert names == {"part_0_of_2.csv", "part_0_of_2_agreement.csv", "part_0_of_2.json"}


def test_several_divisions_in_one_folder_are_told_apart_by_their_number(tmp_path):
    write_part(part(0, 1), tmp_path, NO_ROWS)
    write_part(part(0, 12), tmp_path, NO_ROWS)
    with pytest.raises(UsageError, match="evaluations in 1, 12 parts: say by -num_parts"):
        read_parts(tmp_path)
    assert [each.of for each, _ in read_parts(tmp_path, 12)] == [12]
    for of, which in ((None, ""), (2, " in 2 parts")):
        with pytest.raises(UsageError, match=f"There is no evaluation{which} in"):
            read_parts(tmp_path / "parts" if of is None else tmp_path, of)


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"format": 1}', '{"format": 2}', "part_0_of_1.csv", "part_0_of_1_agreement.csv"]
)
def test_files_that_are_torn_are_named(tmp_path, damage):
    write_part(part(0, 1), tmp_path, NO_ROWS)
    name = damage if damage.endswith("csv") else "part_0_of_1.json"
    (tmp_path / "parts" / name).write_text(damage)
    with pytest.raises(UsageError, match=r"part_0_of_1.json or its scores cannot be read: .* Run this part again"):
        read_parts(tmp_path)


def test_a_margin_is_late_if_the_folder_had_scores_when_it_was_first_given(tmp_path):
    assert not margin_is_late(tmp_path, 1.0)
    one = part(0, options=replace(OPTIONS, margin=1.0))
    write_part(replace(one, finished=False), tmp_path)  # started, without scores
    assert not margin_is_late(tmp_path, 2.0)
    write_part(one, tmp_path, NO_ROWS)
    # Another part of the same call is in time, when that one has its scores already; another margin is not.
    assert not margin_is_late(tmp_path, 1.0)
    assert margin_is_late(tmp_path, 2.0)
    write_part(part(0, options=replace(OPTIONS, margin=2.0, margin_is_late=True)), tmp_path)
    assert margin_is_late(tmp_path, 2.0)
    (tmp_path / "parts" / "part_1_of_2.json").write_text("torn")
    assert margin_is_late(tmp_path, 3.0)
