"""The audit of a network from one call: all checks, in order, for networks of other people."""

from __future__ import annotations

import json

import pytest
import torch
from audit import toys
from audit.toys import SIZE, J
from torch import nn

from nnunet_missingmod.audit import audit
from nnunet_missingmod.audit.finding import CHECKS

ARGUMENTS = {"num_modalities": J, "input_shape": (SIZE, SIZE)}


def test_every_check_is_made_and_a_right_network_passes():
    network = toys.randomised(toys.MaskedMean())
    found = audit(network, absent=network, names=("FLAIR", "T1", "T2"), **ARGUMENTS)
    assert list(dict.fromkeys(each.check for each in found.findings)) == [name for name in CHECKS if name != "more"]
    assert found.failed == ()
    assert found.subject == "MaskedMean"
    assert json.loads(json.dumps(found.as_json()))["leaks"] is False


def test_a_list_of_tensors_and_a_mask_are_fed_by_a_function():
    class TakesAList(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = toys.MaskedMean()

        def forward(self, images, mask):
            return {"out": self.inner(torch.cat(images, 1), mask.bool())}

    network = toys.randomised(TakesAList())
    found = audit(network, absent=lambda images, present: network(images.split(1, 1), present.float()), **ARGUMENTS)
    assert not found.failed


def test_a_network_that_stops_fails_in_evaluation_and_is_not_checked_in_training():
    network = toys.randomised(toys.NeedsTwoSamples())
    found = {each.title: each for each in audit(network, absent=network, **ARGUMENTS).findings}
    assert found["content"].result == "pass"
    assert found["content (training)"].result == "does not apply"
    assert "100 samples" in found["content (training)"].meaning

    class Stops(toys.MaskedMean):
        def forward(self, images, present):
            if present.sum() == 1:
                raise KeyError("T1")
            return super().forward(images, present)

    network = toys.randomised(Stops())
    found = {each.title: each for each in audit(network, absent=network, **ARGUMENTS).findings}
    assert found["content"].result == "fail"
    assert "stops with an error (KeyError: 'T1')" in found["content"].meaning


def test_a_network_that_cannot_be_run_at_all_is_no_finding():
    with pytest.raises(ValueError, match=r"Conv2d cannot be run on a complete case of shape \(1, 3, 6, 6\)"):
        audit(nn.Conv2d(J + 1, 2, 3), **ARGUMENTS)


def test_the_convention_of_zeros_leaks_nothing_and_says_what_the_output_depends_on():
    found = audit(nn.Conv2d(J, 2, 3), absent="zero", **ARGUMENTS)
    assert not found.failed
    assert "zeros stand in place" in found.convention
    assert found.findings[0].result == "note"


def test_further_channels_are_not_modalities():
    class WithPrevious(nn.Module):
        def __init__(self):
            super().__init__()
            self.modalities, self.previous = toys.ReadsTheMark(), nn.Conv2d(2, 2, 1)

        def forward(self, images):
            return self.modalities(images[:, :J]) + self.previous(images[:, J:])

    assert not audit(toys.randomised(WithPrevious()), extra_channels=2, **ARGUMENTS).failed
