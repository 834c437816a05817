"""Scores with a line per subject: what is written, what is read of another program's file, what is refused."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan

import pytest

from nnunet_missingmod.evaluation.aggregation import pool
from nnunet_missingmod.evaluation.conventions import BRATS, HD95, NNUNET
from nnunet_missingmod.evaluation.per_subject import read_per_subject, write_per_subject
from nnunet_missingmod.evaluation.scores import ScoreRow, with_least_size

REGIONS = ("WT", "TC", "ET")
NAMES = ("FLAIR", "T1", "T1ce", "T2")
HEAD = "subject,modalities,WT_dice,TC_dice,ET_dice,WT_hd95,TC_hd95,ET_hd95\n"
MIMOSE = HEAD + "BraTS-1,T1c_T2f,0.9,0.8,0.7,2.5,3.5,4.5\nBraTS-1,T1n,0.5,0.4,nan,20,373.13,\n"


@pytest.fixture
def read(tmp_path):
    def read(text, *, fold="", named=("RFNet", "RFNet (outside)"), regions=REGIONS):
        (tmp_path / "scores.csv").write_text(text)
        return read_per_subject(
            tmp_path / "scores.csv",
            model="RFNet (outside)",
            fold=fold,
            named=named,
            regions=regions,
            modalities=NAMES,
            tolerance_mm=1.0,
        )

    return read


def raw(region, dice, hd95, *, reference=10, predicted=10, model="ours", subset="T1"):
    return ScoreRow(model, "0", "a", subset, 1, region, dice, hd95, 0.5, 1.0, reference, predicted, 30.0)


def test_a_file_of_mimoses_form_becomes_rows(read):
    read_file = read(MIMOSE)
    assert read_file.notes == ()
    first, last = read_file.rows[0], read_file.rows[-1]
    assert (first.model, first.fold, first.case, first.subset) == ("RFNet (outside)", "", "BraTS-1", "FLAIR+T1ce")
    assert (first.num_present, first.region, first.dice, first.hd95_mm) == (2, "WT", 0.9, 2.5)
    assert isnan(first.nsd)
    assert isnan(last.dice)
    assert isnan(last.hd95_mm)
    assert len(read_file.rows) == 6


def test_empty_masks_score_what_the_file_says_under_every_convention(read):
    rows = read(MIMOSE).rows
    assert [BRATS.value(row, HD95) for row in rows[3:5]] == [20, 373.13]
    assert {NNUNET.value(row, HD95) for row in rows[3:5]} == {20, 373.13}
    assert pool(rows, modalities=NAMES, metric=HD95).arrays["RFNet (outside)", "TC"].tolist() == [[373.13, 3.5]]


def test_the_rule_of_small_regions_leaves_out_rows_without_volumes(read):
    ours = [raw("ET", 0.8, 2.0, predicted=5)]
    ruled = with_least_size([*ours, *read(MIMOSE).rows], region="ET", voxels=50)
    assert [(row.model, row.dice) for row in ruled if row.region == "ET ≥ 50"] == [("ours", 0.0)]
    only_theirs = read(MIMOSE).rows
    assert with_least_size(only_theirs, region="ET", voxels=50) == only_theirs


def test_cells_in_quotation_marks_and_lines_without_any_cell_are_read(read):
    found = read('subject,modalities,WT_dice,note\r\n"a, b",T1,0.5,"0,9"\r\n\r\nc,T1,,\r\n', regions=["WT"])
    assert [(row.case, str(row.dice)) for row in found.rows] == [("a, b", "0.5"), ("c", "nan")]


def test_percent_is_seen_and_said(read):
    found = read(HEAD + "a,T1,90,80,0.5,1,1,1\n")
    assert [row.dice for row in found.rows] == pytest.approx([0.9, 0.8, 0.005])
    assert "taken as percent" in found.notes[0]


def test_a_region_without_column_has_no_rows_and_is_said(read):
    found = read("Subject,Modalities,wt_Dice\na,T1,0.5\n")
    assert [(row.region, row.dice) for row in found.rows] == [("WT", 0.5)]
    assert isnan(found.rows[0].hd95_mm)
    assert "no region TC, ET" in found.notes[0]


def test_what_is_written_is_after_the_convention_and_read_back(read, tmp_path):
    rows = [
        raw("WT", 0.9, 2.0),
        raw("ET", nan, nan, reference=0, predicted=0),
        raw("WT", 0.25, 4.0, model="other"),
        raw("ET", 0.0, float("inf"), predicted=0, model="other"),
    ]
    write_per_subject(rows, tmp_path / "out.csv", convention=BRATS)
    text = (tmp_path / "out.csv").read_text()
    assert text == (
        "subject,modalities,WT_dice,ET_dice,WT_hd95,ET_hd95,model,fold\n"
        "a,T1,0.9,1.0,2.0,0.0,ours,0\na,T1,0.25,0.0,4.0,373.13,other,0\n"
    )
    found = read(text, named=("?", "other")).rows
    assert [(row.region, row.dice, row.hd95_mm, row.fold) for row in found] == [
        ("WT", 0.25, 4.0, "0"),
        ("ET", 0.0, 373.13, "0"),
    ]
    write_per_subject(rows[:2], tmp_path / "out.csv", convention=NNUNET)
    assert "a,T1,0.9,,2.0,,ours,0\n" in (tmp_path / "out.csv").read_text()
    lacking = [rows[0], replace(rows[1], subset="T2")]
    write_per_subject(lacking, tmp_path / "out.csv", convention=BRATS)
    assert "a,T2,,1.0,,0.0,ours,0\n" in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize("regions", [("ET", "et"), (" ET",), ("ET", "eT", "WT"), ("a_dice", "a"), ("Läsion ≥ 3",)])
def test_regions_that_differ_in_case_alone_or_have_spaces_come_back(read, tmp_path, regions):
    rows = [raw(region, 0.1 * number, 2.0) for number, region in enumerate(regions, 1)]
    write_per_subject(rows, tmp_path / "out.csv", convention=BRATS)
    text = (tmp_path / "out.csv").read_text(encoding="utf-8")
    found = read(text + ",,,\n", regions=regions)
    assert [(row.region, row.dice) for row in found.rows] == [(row.region, row.dice) for row in rows]


def test_of_regions_that_differ_in_case_alone_none_takes_the_others_column(read):
    found = read("subject,modalities,ET_dice\na,T1,0.5\n", regions=("ET", "et"))
    assert [row.region for row in found.rows] == ["ET"]
    assert found.notes[0].endswith("has no region et.")
    assert found.notes[1].endswith("has no HD95 of ET.")


def test_a_file_of_one_model_has_any_name_and_folds_of_its_own_are_kept(read):
    text = HEAD.strip() + ",model,fold\na,T1,0.9,0.8,0.7,1,1,1,mine,3\na,T1,0.8,0.8,0.7,1,1,1,mine,4\n"
    assert {row.fold for row in read(text, fold="run").rows} == {"run 3", "run 4"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,WT_dice\na,0.5\n", "lacks the column modalities"),
        ("subject,modalities,liver_dice\na,T1,0.5\n", "lacks the column WT_dice, TC_dice, ET_dice; expected subject"),
        (HEAD, "no line below"),
        (HEAD + "a,T9,1,1,1,1,1,1\n", "line 2: 'T9' is no subset of FLAIR, T1"),
        (HEAD + ",T1,1,1,1,1,1,1\n", "line 2: '' is no subject"),
        (HEAD + "a,T1,1,1,1,1,1,1\na,t1n,1,1,1,1,1,1\n", "lines 2 and 3 are both a with T1"),
        (HEAD + "a,T1,good,1,1,1,1,1\n", "line 2: WT_dice is 'good', which is no number"),
        (HEAD + "a,T1,-0.1,1,1,1,1,1\n", "WT_dice is -0.1, which is out of its range"),
        (HEAD + "a,T1,101,1,1,1,1,1\n", "WT_dice is 101, which is out of its range"),
        (HEAD + "a,T1,1.2,1,1,1,1,1\n", "has a Dice of 1.2"),
        (HEAD + "a,T1,0,1,1,inf,1,1\n", "WT_hd95 is inf, which has no mean"),
        (HEAD.strip() + ",model\na,T1,1,1,1,1,1,1,A\na,T1,1,1,1,1,1,1,B\n", "has the models A, B, and no 'RFNet'"),
        (
            "subject,modalities,WT_dice\na,T1,0.5\nb,T1,0,9\n",
            r"scores.csv, line 3 has 4 cells under 3 .* with a comma\?",
        ),
        ("subject,modalities,WT_dice\na,T1,0.9,extra\n", "line 2 has 4 cells under 3 headings"),
        ("subject,modalities,WT_dice,WT_hd95\na,T1,0.9\n", r"line 2 has 3 cells under 4 headings: is the line torn\?"),
        (HEAD + "a,T1,1,1\n", "line 2 has 4 cells under 8 headings"),
        ("subject;modalities;WT_dice\na;T1;0,9\n", "separates its cells by semicolons"),
        ("subject,modalities,WT_dice,wt_Dice\na,T1,0.9,0.8\n", "has the column WT_dice twice"),
        (HEAD + "a,0001,1,1,1,1,1,1\n", r"scores.csv: '0001' may be T1 \(as channel numbers\) or T2"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    options = {"model": "m", "fold": "", "named": ["m"], "regions": REGIONS, "modalities": NAMES, "tolerance_mm": 1.0}
    for name, said in (
        ("binary.csv", "is no text in UTF-8: save it as CSV in UTF-8"),
        ("nowhere.csv", "cannot be read"),
    ):
        with pytest.raises(ValueError, match=f"{name} {said}"):
            read_per_subject(tmp_path / name, **options)
