"""Findings as a table, a document and JSON; of several folds the worst counts."""

from __future__ import annotations

import json

from nnunet_missingmod.audit.finding import Audit, Finding, worst


def finding(result, number=None, *, check="content", mode="evaluation", meaning="It is so."):
    return Finding(check, mode, result, number, "share", meaning)


def test_the_table_has_a_row_per_finding_and_wraps_its_last_column():
    long = finding("fail", 0.12345, meaning="word " * 40)
    audit = Audit("model x", "By convention.", (long, finding("pass", 0.0, check="batch", mode="training")))
    lines = audit.as_text(width=80).splitlines()
    assert lines[:4] == ["Audit of model x", "By convention.", "", lines[3]]
    assert lines[3].split() == ["check", "result", "number", "meaning"]
    assert lines[4].split()[:4] == ["content", "fail", "0.123", "(share)"]
    assert all(len(line) <= 80 for line in lines)
    assert lines[-3].startswith("batch (training)  pass    0")
    assert lines[-1] == "It leaks: content."


def test_a_terminal_may_be_narrow():
    assert "content" in Audit("x", "y", (finding("pass", 0.0),)).as_text(width=10)


def test_the_verdict_names_what_fails_and_is_no_praise_where_nothing_was_checked():
    assert Audit("x", "", (finding("pass", 0.0), finding("note"))).verdict() == "No leak found: 1 checks passed."
    assert Audit("x", "", (finding("does not apply"),)).verdict() == "Nothing could be checked."
    assert [each.result for each in Audit("x", "", (finding("pass"), finding("fail"))).failed] == ["fail"]


def test_cells_of_the_document_keep_their_table():
    text = Audit("x", "", (finding("fail", 1.0, meaning="a|b\nc"),)).as_markdown()
    assert r"| content | fail | 1 | (share) a\|b c |" in text
    assert "- content: Does what an absent modality holds change the output?" in text


def test_json_is_valid_where_a_number_is_infinite():
    content = Audit("x", "y", (finding("fail", float("inf")), finding("pass", 0.0, check="order", mode=""))).as_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["leaks"]
    assert [each["number"] for each in content["findings"]] == [None, 0]
    assert content["findings"][1]["question"] == "Does the order of the files matter?"


def test_of_several_folds_the_worst_counts_and_is_named():
    passed, noted = finding("pass", 0.0), finding("note", 0.5, check="zero")
    found = worst({"fold 0": [passed, noted], "fold 1": [finding("fail", 0.1), noted], "fold 2": [passed, noted]})
    assert [each.result for each in found] == ["fail", "note"]
    assert found[0].meaning == "fold 1: It is so."
    assert found[1] == noted
    lower = worst(
        {"fold 0": [finding("note", 1.0, check="zero")], "fold 1": [finding("note", 0.25, check="zero", meaning="No.")]}
    )
    assert (lower[0].number, lower[0].meaning) == (0.25, "fold 1: No.")
    larger = worst({"fold 0": [finding("pass", 1e-7)], "fold 1": [finding("pass", 2e-7)]})
    assert larger[0].number == 2e-7
