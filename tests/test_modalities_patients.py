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


@pytest.mark.parametrize(("text", "message"), [("(", "no regular expression"), ("a", "it has 0"), ("(a)(b)", "has 2")])
def test_a_pattern_needs_one_group(text, message):
    with pytest.raises(ValueError, match=message):
        compile_pattern(text)
