"""What parts of an evaluation leave, and how they are joined: nothing is lost, and what does not belong is refused."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan

import pytest

from nnunet_missingmod.benchmarking.parts import (
    Part,
    ReportOptions,
    Rows,
    Shared,
    join,
    read_parts,
    share_of,
    write_part,
)
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.evaluation.agreement import AgreementRow
from nnunet_missingmod.evaluation.scores import ScoreRow

TASK = Task(("T1", "T1+C"), {"whole": (1, 2), "core": (2,)}, 3, ".nii.gz", (0, 1, 2, 3), "SimpleITKIO")
CASES = ("a", "b", "c", "d", "e")
SHARED = Shared(
    task=TASK,
    subsets=((0,), (0, 1)),
    models={"ours": "/models/ours"},
    outside={"A (outside)": "predictions that lie in A"},
    tolerance_mm=1.0,
    label_map={4: 2},
    settings={"tile_step_size": 0.5, "mirroring": True},
    cases=CASES,
)
NO_ROWS = Rows([], [])
OPTIONS = ReportOptions("ours", "nnunet", {"core": 50}, "(.)", {(0,): 3.0, (0, 1): 1.0})


def part(number=0, of=2, **more):
    cases = share_of(CASES, number, of)
    whole = Part(
        number=number,
        of=of,
        shared=SHARED,
        options=OPTIONS,
        command=f"part {number}",
        described="test folder",
        notes={"note": "a sentence"},
        cases=cases,
        files={case: (f"/images/{case}", f"/labels/{case}") for case in cases},
        predictions={"A (outside)": {case: {"T1": f"/A/T1/{case}"} for case in cases}},
        weights={"ours": {"0": "w"}},
        folds_together={"ours": (number + 1,)},
        seen={"ours": cases[:1]},
        failures=("everywhere",),
        finished=True,
    )
    return replace(whole, **more)


def row(case, model="ours", dice=0.5):
    return ScoreRow(model, "0", case, "T1", 1, "whole", dice, 1.0, 0.5, 1.0, 10, 10, 30.0)


def agreed(case, model="ours", kind="subsets"):
    return AgreementRow(model, "0", case, "T1+T1+C", 2, "whole", kind, 0.1 + 0.2)


def rows_of(each):
    both = [(case, model) for model in ("ours", "A (outside)") for case in each.cases]
    folds = [agreed(case, kind="folds") for case in each.cases]
    return Rows([row(*of) for of in both], [*folds, *(agreed(*of) for of in both)])


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


def test_parts_are_one_evaluation_in_the_order_of_a_single_call(tmp_path):
    for each in (part(1, failures=("everywhere", "b")), part(0)):
        write_part(each, tmp_path, rows_of(each))
    joined, rows = join(read_parts(tmp_path))
    in_order = [(model, case) for model in ("ours", "A (outside)") for case in CASES]
    assert [(each.model, each.case) for each in rows.scores] == in_order
    assert [(each.kind, each.model, each.case) for each in rows.agreement] == [
        *(("folds", "ours", case) for case in CASES),
        *(("subsets", *of) for of in in_order),
    ]
    assert joined.finished
    assert joined.failures == ("everywhere", "b")
    assert sorted(joined.files) == sorted(joined.predictions["A (outside)"]) == list(CASES)
    assert joined.command == "part 0\npart 1"
    assert (joined.folds_together, joined.seen) == ({"ours": (1, 2)}, {"ours": ("a", "b")})


def test_a_part_that_is_missing_or_has_not_finished_is_named_with_its_cases(tmp_path):
    write_part(part(0, 3), tmp_path, rows_of(part(0, 3)))
    write_part(part(1, 3), tmp_path, rows_of(part(1, 3)))
    # Started once more, and killed: its scores of before are not trusted.
    write_part(part(1, 3, finished=False), tmp_path)
    joined, rows = join(read_parts(tmp_path))
    assert {each.case for each in rows.scores} == {each.case for each in rows.agreement} == {"a", "d"}
    assert joined.seen == {"ours": ("a",)}
    assert not joined.finished
    assert joined.failures[1:] == (
        "part 1 of 3 has not finished; its 2 cases: b, e. Run it: -num_parts 3 -part_id 1.",
        "part 2 of 3 is missing; its 1 cases: c. Run it: -num_parts 3 -part_id 2.",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shared": replace(SHARED, tolerance_mm=2.0)}, "they differ in tolerance. Run one"),
        ({"shared": replace(SHARED, subsets=((0,),), cases=("a",))}, "they differ in subsets, cases"),
        ({"weights": {"ours": {"0": "x"}}}, "Fold 0 of ours had other weights in part 1"),
    ],
)
def test_parts_of_different_evaluations_are_refused_by_what_differs(change, message):
    with pytest.raises(UsageError, match=message):
        join([(part(0), NO_ROWS), (part(1, **change), NO_ROWS)])


def test_options_of_the_report_and_the_order_of_starting_do_not_part_them():
    joined, _ = join([(part(0), NO_ROWS), (part(1, options=ReportOptions()), NO_ROWS)])
    assert joined.options == OPTIONS


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
