"""A network that goes by position in a list of named modalities is found; one that goes by name passes."""

from __future__ import annotations

from audit import toys

from nnunet_missingmod.audit.order import order_check


def test_position_in_place_of_name_is_found(probe_of):
    found = order_check(probe_of(toys.ByPosition, names=("FLAIR", "T1", "T2")))
    assert found.result == "fail"
    assert found.number > 0.1
    assert "+" in found.meaning


def test_a_network_that_goes_by_name_passes(probe_of):
    assert order_check(probe_of(toys.ByName)).result == "pass"


def test_it_does_not_apply_to_channels_by_position_nor_to_one_modality(probe_of):
    assert order_check(probe_of(toys.MaskedMean)).result == "does not apply"
    assert order_check(probe_of(toys.ByName, subsets=[(0,), (2,)])).result == "does not apply"
