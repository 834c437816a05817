"""The content of absent modalities: what leaks is found, what does not passes, for every kind of output."""

from __future__ import annotations

import pytest
import torch
from audit import toys
from audit.toys import SIZE, J
from torch import nn

from nnunet_missingmod.audit import Probe
from nnunet_missingmod.audit.content import content_check, gradient_check


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "toy",
    [toys.MaskedMean, toys.ListOfOutputs, toys.TupleOfOutputs, toys.DictOfOutputs, toys.ReadsTheMark, toys.ByName],
)
def test_right_networks_pass_whatever_they_return(probe_of, toy, training):
    for check in (content_check, gradient_check):
        found = check(probe_of(toy), training=training)
        assert (found.result, found.number) == ("pass", 0), found


def test_volumes_pass(probe_of):
    probe = probe_of(toys.MaskedMean(dimensions=3), input_shape=(4, 3, 5))
    assert content_check(probe).result == gradient_check(probe).result == "pass"


@pytest.mark.parametrize("toy", [toys.FilledAfterNormalisation, toys.AttentionOverAbsent, toys.Remembering])
def test_content_that_reaches_the_output_is_found(probe_of, toy):
    found = content_check(probe_of(toy))
    assert found.result == "fail"
    assert found.number > 0.01


def test_what_content_changes_is_measured_as_a_share_of_the_largest_value():
    # With m0 alone, whose channel is all ones, the output is 1; a tenth of the sum of m1's 4 voxels is added to it.
    class Leaking(nn.Module):
        def forward(self, images, present):
            images = torch.where(present[..., None, None], images, 0.1 * images)
            return (present[:, 0] * 1.0)[:, None] + images[:, 1].sum((1, 2))[:, None]

    network = Leaking()
    probe = Probe(network, num_modalities=2, input_shape=(2, 2), absent=network, subsets=[(0,)])
    added = 0.1 * float(probe.filled(probe.images(1), probe.present([(0,)]), "extreme")[:, 1].sum())
    expected = abs(added) / max(1, abs(1 + added))
    assert content_check(probe).number == pytest.approx(expected)


def test_gradient_without_content_is_found(probe_of):
    probe = probe_of(toys.StraightThrough)
    assert content_check(probe).result == "pass"
    found = gradient_check(probe)
    assert found.result == "fail"
    assert "Absent modalities get gradient" in found.meaning


def test_a_present_modality_without_gradient_is_named_with_every_subset(probe_of):
    found = gradient_check(probe_of(toys.DeadBranch, names=("FLAIR", "T1", "T2")))
    assert found.result == "fail"
    assert found.number == 4  # T1, FLAIR+T1, T1+T2, all
    assert "T1 in T1, T1 in FLAIR+T1" in found.meaning


def test_a_network_that_drops_at_random_in_training_has_no_dead_branch(probe_of):
    assert gradient_check(probe_of(toys.DropsInTraining), training=True).result == "pass"


def test_a_product_with_the_mask_fails_only_where_absent_channels_may_hold_no_numbers(probe_of):
    assert content_check(probe_of(toys.ProductWithMask)).result == "pass"
    assert content_check(probe_of(toys.ProductWithMask, nonfinite=True)).result == "fail"


def test_a_network_that_does_not_know_the_mark_is_told_so():
    probe = Probe(nn.Conv2d(J, 2, 3), num_modalities=J, input_shape=(SIZE, SIZE))
    found = content_check(probe)
    assert found.result == "fail"
    assert "does not know NaN" in found.meaning
    assert gradient_check(probe).result == "fail"


def test_zeros_by_convention_are_a_note_on_what_the_output_depends_on():
    torch.manual_seed(0)
    probe = Probe(nn.Conv2d(J, 2, 3), num_modalities=J, input_shape=(SIZE, SIZE), absent="zero")
    for check in (content_check, gradient_check):
        found = check(probe)
        assert found.result == "note"
        assert found.number > 0.1


def test_labels_and_outputs_without_a_graph_have_no_gradient_to_check():
    network = nn.Conv2d(J, 2, 3)
    for output in (lambda images, _: network(images).argmax(1), lambda images, _: network(images).detach()):
        probe = Probe(network, num_modalities=J, input_shape=(SIZE, SIZE), absent=output)
        assert gradient_check(probe).result == "does not apply"


def test_one_modality_has_no_content_to_check_and_gets_gradient():
    probe = Probe(toys.ReadsTheMark(1), num_modalities=1, input_shape=(SIZE, SIZE))
    assert content_check(probe).result == "does not apply"
    assert gradient_check(probe).result == "pass"


def test_a_network_that_chooses_one_modality_has_no_dead_branch(probe_of):
    class Loudest(toys.MaskedMean):
        def weights(self, present):
            return present.double() * (self.loudness == self.loudness.amax(1, keepdim=True))

        def forward(self, images, present):
            cleaned = self.clean(images, present)
            self.loudness = torch.where(present, cleaned.flatten(2).std(2), -1.0)
            return super().forward(images, present)

    assert gradient_check(probe_of(Loudest)).result == "pass"
