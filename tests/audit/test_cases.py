"""Chance and memory are found; a case without modalities is refused or finite; zeros are told apart or not."""

from __future__ import annotations

import pytest
from audit import toys
from audit.toys import SIZE, J
from torch import nn

from nnunet_missingmod.audit import Probe
from nnunet_missingmod.audit.cases import none_check, state_check, zero_check


@pytest.mark.parametrize(
    ("toy", "word"),
    [
        (toys.RandomFill, "filled at random"),
        (toys.Remembering, "after another case"),
        (toys.CountingInABuffer, "something is counted"),
    ],
)
def test_chance_and_memory_are_found(probe_of, toy, word):
    found = state_check(probe_of(toy))
    assert found.result == "fail"
    assert found.number > 1e-3
    assert word in found.meaning


def test_dropout_that_stays_on_is_found():
    network = nn.Conv2d(J, 2, 1)
    absent = lambda images, _: nn.functional.dropout(network(images), training=True)  # noqa: E731
    assert state_check(Probe(network, num_modalities=J, input_shape=(4, 4), absent=absent)).result == "fail"


@pytest.mark.parametrize("toy", [toys.MaskedMean, toys.BatchNormed, toys.ReadsTheMark, toys.DropsInTraining])
def test_what_is_the_same_each_time_passes(probe_of, toy):
    found = state_check(probe_of(toy))
    assert (found.result, found.number) == ("pass", 0)


def test_nan_without_any_modality_is_found(probe_of):
    assert none_check(probe_of(toys.DividedByNothing)).result == "fail"


def test_no_modality_is_refused_in_words_or_gives_a_finite_output(probe_of):
    refused = none_check(probe_of(toys.RefusesNothing))
    assert refused.result == "pass"
    assert "A case has no modality at all" in refused.meaning
    assert none_check(probe_of(toys.MaskedMean)).result == "pass"


def test_an_error_from_deep_inside_is_a_note(probe_of):
    found = none_check(probe_of(toys.ByName))
    assert found.result == "note"
    assert "RuntimeError" in found.meaning


def test_zeros_are_told_from_absence_by_biases_alone(probe_of):
    assert zero_check(probe_of(toys.MaskedMean)).number == 1
    assert zero_check(probe_of(toys.ReadsTheMark)).number == 0
    assert {zero_check(probe_of(toy)).result for toy in (toys.MaskedMean, toys.ReadsTheMark)} == {"note"}


def test_the_convention_of_zeros_cannot_tell_and_one_modality_has_nothing_to_tell():
    probe = Probe(nn.Conv2d(J, 2, 3), num_modalities=J, input_shape=(SIZE, SIZE), absent="zero")
    assert zero_check(probe).number == 0
    one = Probe(toys.ReadsTheMark(1), num_modalities=1, input_shape=(SIZE, SIZE))
    assert zero_check(one).result == "does not apply"
