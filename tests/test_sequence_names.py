"""Spellings of sequences are told apart, whatever their case and separators."""

from __future__ import annotations

from nnunet_missingmod.datasets.brats_naming import CHANNELS
from nnunet_missingmod.sequence_names import SEQUENCE_OF, SPELLINGS


def test_every_spelling_is_that_of_one_sequence():
    every = [spelling for spellings in SPELLINGS.values() for spelling in spellings.split()]
    assert len(every) == len(set(every)) == len(SEQUENCE_OF)
    assert all(spelling.isalnum() and spelling == spelling.lower() for spelling in every)


def test_the_sequences_are_those_of_brats_in_its_names_of_all_years():
    assert tuple(SPELLINGS) == CHANNELS
    of_2023 = {"t2f": "FLAIR", "t1n": "T1", "t1c": "T1ce", "t2w": "T2"}
    assert {name: SEQUENCE_OF[name] for name in of_2023} == of_2023
    assert all(SEQUENCE_OF[name.lower()] == name for name in CHANNELS)
