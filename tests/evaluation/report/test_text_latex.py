from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_missingmod.evaluation.report.text import escape_latex


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50 % of A & B", "50 \\% of A \\& B"),
        ("nnUNetTrainer_x", "nnUNetTrainer\\_x"),
        ("a − b", "a $-$ b"),
        ("C:\\new", "C:\\textbackslash{}new"),
        ("p < 0.05^2", "p $<$ 0.05\\textasciicircum{}2"),
        ("{~}", "\\{\\textasciitilde{}\\}"),
        ("größer", "größer"),
    ],
)
def test_special_characters_print_as_they_are(text, expected):
    assert escape_latex(text) == expected


@given(st.text())
def test_nothing_is_left_that_latex_would_read_as_a_command(text):
    known = re.compile(r"\\(textbackslash|textasciitilde|textasciicircum|textdagger)\{\}|\\[&%$#_{}]|\$[^$]*\$")
    assert not re.search(r"[\\&%$#_{}~^\n]", known.sub("", escape_latex(text)))
