"""Leaks between the samples of a batch are found, in evaluation and in training; rounding is none."""

from __future__ import annotations

import pytest
import torch
from audit import toys
from audit.toys import SIZE, J
from torch import nn

from nnunet_missingmod.audit import Probe
from nnunet_missingmod.audit.batch import batch_axis, batch_check


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("toy", [toys.MaskOfWholeBatch, toys.MaskOfFirstSample])
def test_masks_that_samples_share_are_found(probe_of, toy, training):
    found = batch_check(probe_of(toy), training=training)
    assert found.result == "fail"
    assert "with the other samples of its batch" in found.meaning


def test_batch_normalisation_leaks_in_training_alone(probe_of):
    assert batch_check(probe_of(toys.BatchNormed)).result == "pass"
    found = batch_check(probe_of(toys.BatchNormed), training=True)
    assert found.result == "fail"
    assert "batch normalisation" in found.meaning


def test_an_output_that_depends_on_the_number_of_samples_is_found(probe_of):
    found = batch_check(probe_of(toys.DividedByTheBatch))
    assert found.result == "fail"
    assert found.number == pytest.approx(2 / 3)  # 1 alone, 1 / 3 in a batch of 3
    assert "alone than in a batch" in found.meaning


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("toy", [toys.MaskedMean, toys.ListOfOutputs, toys.DictOfOutputs, toys.ReadsTheMark])
def test_right_networks_pass(probe_of, toy, training):
    assert batch_check(probe_of(toy), training=training).result == "pass"


def test_single_precision_is_given_its_rounding():
    network = toys.randomised(toys.MaskedMean()).float()
    probe = Probe(network, num_modalities=J, input_shape=(SIZE, SIZE), absent=network)
    assert probe.rounding == 1e-3
    assert batch_check(probe).result == "pass"


def test_one_modality_is_compared_beside_other_images():
    class MeanOfBatch(nn.Module):
        def forward(self, images):
            return images - images.mean(0, keepdim=True)

    probe = Probe(MeanOfBatch(), num_modalities=1, input_shape=(SIZE, SIZE), absent="zero")
    assert batch_check(probe).result == "fail"


def test_what_is_drawn_by_the_number_of_modalities_cannot_be_told_in_training():
    class NoiseForPresentOnes(toys.MaskedMean):
        def encode(self, images):
            drawn = torch.randn(int((images != 0).flatten(2).any(2).sum()) + 1, dtype=images.dtype)
            return super().encode(images) + (drawn[-1] if self.training else 0)

    network = toys.randomised(NoiseForPresentOnes())
    probe = Probe(network, num_modalities=J, input_shape=(SIZE, SIZE), absent=network)
    assert batch_check(probe).result == "pass"
    assert batch_check(probe, training=True).result == "does not apply"


def test_an_output_without_the_batchs_axis_cannot_be_told():
    network = nn.Conv2d(J, 2, 3)
    probe = Probe(network, num_modalities=J, input_shape=(5, 5), absent=lambda images, _: network(images).sum())
    assert batch_check(probe).result == "does not apply"


class _WithPrototypes(toys.MaskedMean):
    """As many prototypes as samples in the batch, which is chance, and features by modality before sample."""

    def __init__(self):
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(3, 5))

    def forward(self, images, present):
        features = self.encode(self.clean(images, present))
        logits = super().forward(images, present)
        by_modality = torch.where(toys.over(present, features), features, 0.0).transpose(0, 1)
        return {"logits": logits, "prototypes": self.prototypes, "by modality": by_modality}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_what_has_three_rows_by_chance_is_no_batch(probe_of, training):
    assert batch_check(probe_of(_WithPrototypes), training=training).result == "pass"


def test_a_leak_is_found_whichever_axis_is_the_batchs(probe_of):
    class LastAxis(toys.MaskOfWholeBatch):
        def forward(self, images, present):
            return super().forward(images, present).movedim(0, -1)

    assert batch_check(probe_of(LastAxis)).result == "fail"


def test_a_matrix_of_samples_is_of_no_sample_alone(probe_of):
    class Similarities(toys.MaskedMean):
        def forward(self, images, present):
            logits = super().forward(images, present)
            return logits, logits.flatten(1) @ logits.flatten(1).T

    assert batch_check(probe_of(Similarities)).result == "pass"


def test_the_batchs_axis_is_the_one_that_follows_its_size():
    assert batch_axis((3, 2, 6), 3, (2, 2, 6), 2) == 0
    assert batch_axis((3, 3, 6), 3, (3, 2, 6), 2) == 1
    assert batch_axis((3, 5), 3, (3, 5), 2) is None
    assert batch_axis((3, 3), 3, (2, 2), 2) is None
    assert batch_axis((6, 5), 3, (4, 5), 2) is None
    assert batch_axis((3,), 3, (2, 1), 2) is None
