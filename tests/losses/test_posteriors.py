"""Posteriors of both heads against torch's own, and what the ignore label takes out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from nnunet_missingmod.losses.posteriors import Head, class_index, log_posterior, voxel_weights, zero_uncounted

LOGITS = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_log_posteriors_are_those_of_softmax_and_sigmoid():
    torch.testing.assert_close(log_posterior(LOGITS, "softmax", 2.0), functional.log_softmax(LOGITS / 2, dim=1))
    pairs = log_posterior(LOGITS, "regions").exp()
    assert pairs.shape == (2, 2, 3, 4, 5)
    torch.testing.assert_close(pairs[:, 0], torch.sigmoid(LOGITS))
    torch.testing.assert_close(pairs.sum(1), torch.ones_like(LOGITS))


def test_half_precision_is_widened():
    assert log_posterior(LOGITS.half(), "softmax").dtype == torch.float32


def test_a_region_voxel_inside_is_the_first_of_its_pair():
    labels = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 5)
    index = class_index(labels, LOGITS[:1, :2], "regions", None)
    assert (index[:, 0].unique().item(), index[:, 1].unique().item()) == (0, 1)
    with pytest.raises(ValueError, match="Region labels must have shape"):
        class_index(labels[:, :1], LOGITS[:1, :2], "regions", None)


def test_the_ignore_label_is_separated():
    labels = torch.tensor([[[[0, 2], [9, 1]]]])
    same, valid = Head("softmax", ignore_label=9).labels(labels)
    assert same is labels
    assert valid.tolist() == [[[[True, True], [False, True]]]]
    target = torch.cat([labels > 0, labels > 1, labels == 9], dim=1)
    regions, valid = Head("regions", ignore_label=9).labels(target)
    assert regions.shape == (1, 2, 2, 2)
    assert valid.tolist() == [[[[True, True], [False, True]]]]
    assert Head("regions").labels(target) == (target, None)


def test_weights_of_voxels_are_those_of_their_samples_too():
    valid = torch.ones(2, 1, 4, 5, dtype=torch.bool)
    valid[0, 0, 0] = False
    weights = voxel_weights(LOGITS, valid, torch.tensor([1.0, 0.5]))
    assert (weights[0, 0, 0, 0], weights[0, 0, 1, 0], weights[1, 0, 0, 0]) == (0, 1, 0.5)
    assert voxel_weights(LOGITS, None, None) is None
    with pytest.raises(ValueError, match="sample_weights must have shape"):
        voxel_weights(LOGITS, None, torch.ones(3))


def test_what_does_not_count_is_not_looked_at():
    values = torch.tensor([1.0, float("nan")])
    assert zero_uncounted(values, torch.tensor([1.0, 0.0])).tolist() == [1.0, 0.0]
