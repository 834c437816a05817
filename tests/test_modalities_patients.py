"""Cases of one patient are told by their names."""

from __future__ import annotations

import pytest

from nnunet_missingmod.modalities import compile_pattern, name_patients


def test_scans_of_one_patient_share_it():
    pattern = compile_pattern(r"(BraTS-GLI-\d+)-\d+")
    cases = ["BraTS-GLI-00005-100", "BraTS-GLI-00005-101", "BraTS-GLI-00006-100"]
    assert name_patients(cases, pattern) == {
        "BraTS-GLI-00005-100": "BraTS-GLI-00005",
        "BraTS-GLI-00005-101": "BraTS-GLI-00005",
        "BraTS-GLI-00006-100": "BraTS-GLI-00006",
    }


@pytest.mark.parametrize("case", ["other_1", "a_case_1", "case_"])
def test_a_case_without_a_patient_is_named(case):
    with pytest.raises(ValueError, match=f"no patient in case {case}"):
        name_patients(["case_1", case], compile_pattern(r"case_(\d*)"))


def test_how_many_cases_are_without_a_patient_is_said_and_how_an_ending_is_optional():
    cases = ["p1_v1", "p1_v2", "p2", "p3"]
    hint = r"in case p2 \(2 of 4 cases\), matched from its start\. .* is optional: '\(\.\+\?\)\(\?:_v\[0-9\]\+\)\?\$'"
    with pytest.raises(ValueError, match=hint):
        name_patients(cases, compile_pattern(r"(.+)_v\d"))
    assert set(name_patients(cases, compile_pattern("(.+?)(?:_v[0-9]+)?$")).values()) == {"p1", "p2", "p3"}
    with pytest.raises(ValueError, match=r"in case p1_v1 \(4 of 4 cases\), matched from its start\.$"):
        name_patients(cases, compile_pattern("(x)"))


@pytest.mark.parametrize(("text", "message"), [("(", "no regular expression"), ("a", "it has 0"), ("(a)(b)", "has 2")])
def test_a_pattern_needs_one_group(text, message):
    with pytest.raises(ValueError, match=message):
        compile_pattern(text)
