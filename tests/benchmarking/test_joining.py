"""Parts of an evaluation are joined: nothing is lost, and what does not belong together is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from benchmarking.some_parts import CASES, NO_ROWS, OPTIONS, SHARED, part, rows_of

from nnunet_missingmod.benchmarking.joining import join
from nnunet_missingmod.benchmarking.parts import read_parts, write_part
from nnunet_missingmod.errors import UsageError


def with_contents(**changed):
    return replace(SHARED, contents={**SHARED.contents, **changed})


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
        "part 2 of 3 is missing; its 1 case: c. Run it: -num_parts 3 -part_id 2.",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shared": replace(SHARED, tolerance_mm=2.0)}, "they differ in tolerance. Run one"),
        ({"shared": replace(SHARED, outside={"theirs": "x"})}, "they differ in models that are not nnU-Net's. Run one"),
        ({"shared": replace(SHARED, subsets=((0,),), cases=("a",))}, "they differ in subsets, cases"),
        ({"weights": {"ours": {"0": "x"}}}, "Fold 0 of ours had other weights in part 1"),
        ({"shared": replace(SHARED, folds={"ours": ("0", "1", "2")})}, r"folds of ours \(0 against 0\+1\+2\)"),
        ({"shared": replace(SHARED, checkpoint="other.pth")}, r"checkpoint \(final.pth against other.pth\)"),
        ({"shared": with_contents(b=("1", "x"))}, "differ in references of b. Run one of them again .* the same files"),
        ({"shared": with_contents(**{case: ("x", "2") for case in "abcd"})}, "differ in images of a, b, c, d. Run"),
        (
            {"options": replace(OPTIONS, margin=1.0)},
            "Part 0 of 2 was called with no --margin, part 1 with --margin 1",
        ),
        ({"options": replace(OPTIONS, patients=None)}, r"with --patients '\(.\)', part 1 with no --patients. Run"),
    ],
)
def test_parts_of_different_evaluations_are_refused_by_what_differs(change, message):
    with pytest.raises(UsageError, match=message):
        join([(part(0), NO_ROWS), (part(1, **change), NO_ROWS)])


def test_of_what_a_part_could_not_read_or_an_earlier_version_did_not_write_nothing_is_asked(tmp_path):
    unknown = replace(SHARED, folds={}, checkpoint=None, contents={})
    for one, other in ((SHARED, unknown), (unknown, SHARED)):
        assert join([(part(0, shared=one), NO_ROWS), (part(1, shared=other), NO_ROWS)])[0].finished
    write_part(part(0, 1), tmp_path, NO_ROWS)
    file = tmp_path / "parts" / "part_0_of_1.json"
    content = json.loads(file.read_text())
    for key in ("folds", "checkpoint", "contents"):
        del content["shared"][key]
    del content["options"]["margin_is_late"]
    file.write_text(json.dumps(content))
    ((read, _),) = read_parts(tmp_path)
    assert read == part(0, 1, shared=unknown)


def test_other_options_of_the_report_are_those_of_the_first_part_and_the_others_are_named(caplog):
    others = replace(OPTIONS, convention="auto", least_size={}, prevalence={(0,): 1.0})
    joined, _ = join([(part(0), NO_ROWS), (part(1, options=others), NO_ROWS)])
    assert joined.options == OPTIONS
    note = joined.notes["note on options"]
    assert "Part 0 of 2 was called with --convention nnunet, part 1 with --convention auto: the report is" in note
    assert "with --least-size core=50, part 1 with no --least-size" in note
    assert "with --prevalence 'T1 3, T1+T1\\+C 1', part 1 with --prevalence 'T1 1'" in note
    assert "baseline" not in note
    assert len(caplog.messages) == 3
    assert "note on options" not in join([(part(0), NO_ROWS), (part(1), NO_ROWS)])[0].notes


def test_a_margin_that_one_part_got_late_is_late(caplog):
    in_time, late = (replace(OPTIONS, margin=1.0, margin_is_late=is_late) for is_late in (False, True))
    for options, expected in (((in_time, in_time), False), ((in_time, late), True)):
        joined, _ = join([(part(number, options=each), NO_ROWS) for number, each in enumerate(options)])
        assert joined.options.margin_is_late is expected
