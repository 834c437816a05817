"""Prototype distillation against a loop over samples and classes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.prototype import prototype_loss

K = 3


def by_hand(ours: torch.Tensor, theirs: torch.Tensor, inside: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """One sample: features (C, N), masks (Q, N) and which voxels count (N,)."""
    parts = []
    for mask in inside:
        chosen = mask & valid
        if chosen.any():
            maps = [
                functional.cosine_similarity(each, each[:, chosen].mean(1, keepdim=True), dim=0)[valid]
                for each in (ours, theirs)
            ]
            parts.append((maps[0] - maps[1]).square())
    return torch.cat(parts)


@pytest.mark.parametrize("ignored", [True, False])
@pytest.mark.parametrize("kind", ["softmax", "regions"])
def test_it_equals_a_loop(kind: str, *, ignored: bool) -> None:
    ours, theirs = torch.randn(2, 3, 5, 4, 4)
    counts = torch.tensor([True, True, False])
    if kind == "softmax":
        target = torch.randint(0, K + ignored, (3, 1, 4, 4))
        inside = [torch.stack([sample[0].flatten() == k for k in range(K)]) for sample in target]
        valid = [sample.flatten() < K for sample in target]
    else:
        regions = torch.randint(0, 2, (3, K, 4, 4)).float()
        mask = torch.randint(0, 2, (3, 1, 4, 4)).float() if ignored else torch.zeros(3, 1, 4, 4)
        target = torch.cat([regions, mask], dim=1) if ignored else regions
        inside = [torch.cat([sample.flatten(1) > 0, sample.flatten(1) == 0]) for sample in regions]
        valid = [sample.flatten() == 0 for sample in mask]
    head = Head(kind, ignore_label=(K if kind == "softmax" else 1) if ignored else None)
    expected = torch.cat([by_hand(ours[b].flatten(1), theirs[b].flatten(1), inside[b], valid[b]) for b in range(2)])
    theirs[2] = torch.nan  # a sample that is not taught
    value = prototype_loss(ours, theirs, target, num_outputs=K, head=head, counts=counts)
    torch.testing.assert_close(value, expected.mean())


def test_equal_features_cost_nothing_and_neither_does_their_length() -> None:
    ours, target = torch.randn(2, 5, 4, 4), torch.randint(0, K, (2, 1, 4, 4))
    counts = torch.ones(2, dtype=torch.bool)
    value = prototype_loss(ours, 3 * ours, target, num_outputs=K, head=Head("softmax"), counts=counts)
    assert value < 1e-10


def test_only_the_student_learns_from_the_samples_that_are_taught() -> None:
    ours, theirs = torch.randn(2, 5, 4, 4, requires_grad=True), torch.randn(2, 5, 4, 4, requires_grad=True)
    target, counts = torch.randint(0, K, (2, 1, 4, 4)), torch.tensor([True, False])
    prototype_loss(ours, theirs, target, num_outputs=K, head=Head("softmax"), counts=counts).backward()
    assert theirs.grad is None
    assert (ours.grad[1] == 0).all()
    assert (ours.grad[0] != 0).all()


def test_its_gradient_is_that_of_finite_differences() -> None:
    ours, theirs = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True), torch.randn(1, 3, 4)
    target = torch.tensor([[[0, 1, 1, 0]]])
    run = lambda ours: prototype_loss(  # noqa: E731
        ours, theirs, target, num_outputs=2, head=Head("softmax"), counts=torch.tensor([True])
    )
    # Computed in single precision.
    assert torch.autograd.gradcheck(run, ours, eps=1e-2, atol=1e-3, rtol=1e-2)
