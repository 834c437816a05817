"""The report gets what was measured, and a card is written only where it would be whole and can be."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest
from benchmarking.some_evaluation import evaluation, write
from benchmarking.some_rows import EVERY, TASK, some_rows

from nnunet_missingmod.benchmarking.parts import ReportOptions, Rows
from nnunet_missingmod.benchmarking.report import write_evaluation
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card
from nnunet_missingmod.modalities import subset_name


def test_each_model_gets_its_own_card(tmp_path, numbers_only):
    lines, failures = write(tmp_path, [*some_rows("a"), *some_rows("b")], EVERY, "a", "b")
    assert failures == []
    for model in ("a", "b"):
        card = read_card(tmp_path / model / FILE_NAME)
        assert card.model == model
        assert card.provenance["weights"] == {"0": f"weights of {model}"}
        assert "command" not in card.provenance  # which may name paths of this machine
        assert card.expected(["T3"]).regions["tumour"].mean == pytest.approx(0.28)
    assert numbers_only[0]["pairs"] == [("b", "a")]
    assert numbers_only[0]["margin"] is None
    assert any(line.startswith("Warning: 5 cases of 5 patients are fewer than 50") for line in lines)
    assert any(line.startswith("a and b have the same mean Dice") for line in lines)
    assert any("1 of 3" in line for line in lines)


def test_some_subsets_make_a_table_and_no_card(tmp_path, numbers_only):
    subsets = [(0,), (0, 1)]
    names = [subset_name(subset, TASK.modalities) for subset in subsets]
    lines, failures = write(tmp_path, [each for each in some_rows("a") if each.subset in names], subsets, "a")
    assert failures == []
    assert not (tmp_path / "a" / FILE_NAME).exists()
    assert any("T1+T2" in line for line in lines)


def test_a_model_from_outside_is_named_in_the_provenance_and_gets_no_card(tmp_path, numbers_only):
    rows = [*some_rows("a"), *some_rows("b (outside)")]
    options = ReportOptions(baseline="b (outside)", prevalence={(0,): 1.0})
    lines, failures = write(tmp_path, rows, EVERY, "a", outside={"b (outside)": "there"}, options=options)
    assert failures == []
    assert (tmp_path / "a" / FILE_NAME).is_file()
    assert numbers_only[0]["provenance"]["b (outside) is from outside"] == "there"
    assert numbers_only[0]["provenance"]["prevalence"] == "T1 1"
    assert numbers_only[0]["pairs"] == [("a", "b (outside)")]
    assert lines[0].endswith("| average weighted by prevalence |")


def test_an_evaluation_of_which_parts_are_missing_makes_no_card(tmp_path, numbers_only):
    failures = []
    some = replace(evaluation(tmp_path, EVERY, "a"), finished=False)
    write_evaluation(some, Rows(some_rows("a"), []), tmp_path, failures)
    assert not (tmp_path / "a" / FILE_NAME).exists()


def test_healthy_cases_alone_make_a_report_without_a_picture(tmp_path):
    empty = {"dice": nan, "hd95_mm": nan, "nsd": nan, "reference_voxels": 0, "predicted_voxels": 0}
    rows = [replace(each, **empty) for each in some_rows("a") if each.case == "case0"]
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "cases.png").touch()  # of an earlier report
    files = {"case0": (str(tmp_path / "image"), str(tmp_path / "label"))}
    lines, failures = write(tmp_path, rows, EVERY, "a", options=ReportOptions(convention="nnunet"), files=files)
    assert failures == []
    assert lines[-1] == f"Report: {tmp_path / 'report.html'}"
    assert (tmp_path / "report.html").is_file()
    assert not (tmp_path / "figures" / "cases.png").exists()


@pytest.mark.parametrize(
    ("is_late", "when"),
    [(False, "given with the first call, before there were scores"), (True, "given after the scores existed")],
)
def test_the_report_says_when_the_margin_was_given(tmp_path, caplog, is_late, when):
    rows = [*some_rows("a"), *some_rows("b")]
    write(tmp_path, rows, EVERY, "a", "b", options=ReportOptions(margin=5.0, margin_is_late=is_late))
    assert f"5 points of Dice, {when}" in (tmp_path / "report.html").read_text()
    assert ("--margin 5 is given after the scores existed" in caplog.text) is is_late
    for file in ("report.html", "report.md"):
        text = (tmp_path / file).read_text()
        assert "beforehand" not in text
        assert ("so that the verdicts are no proof" in text) is is_late
        assert ("given before there were scores as far as is known" in text) is not is_late
