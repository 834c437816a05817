from __future__ import annotations

import dataclasses

import pytest

from nnunet_missingmod.evaluation.report.section import Section, SectionTable


def test_a_section_is_a_question_with_what_answers_it_and_does_not_change():
    section = Section("order", "In which order?", "By rank.")
    assert (section.tables, section.figures) == ((), ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        section.title = "Other"
    table = SectionTable("Ranks", ("model", "rank"), (("ours", "1"),))
    assert Section("order", "In which order?", "By rank.", (table,)).tables[0].body[0] == ("ours", "1")
