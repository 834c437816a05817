"""The loss of the regions that a fusion finds: against its formula, with ignored voxels, on lower levels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.region_maps import region_maps_loss

K = 3


def by_hand(maps: torch.Tensor, inside: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    q, chosen = maps.sigmoid(), counts.expand_as(maps).bool()
    entropy = functional.binary_cross_entropy(q[chosen], inside[chosen])
    over = (0, 2, 3)
    overlap, sizes = (q * inside * counts).sum(over), ((q + inside) * counts).sum(over)
    return entropy + 1 - ((2 * overlap + 1) / (sizes + 1)).mean()


@pytest.mark.parametrize("ignored", [True, False])
@pytest.mark.parametrize("kind", ["softmax", "regions"])
def test_each_level_is_compared_with_the_labels_of_its_size(kind: str, *, ignored: bool) -> None:
    maps = [torch.randn(2, K, 8, 8), torch.randn(2, K, 4, 4)]
    if kind == "softmax":
        labels = torch.randint(0, K + ignored, (2, 1, 8, 8))
        targets = [labels]
        inside = torch.cat([labels == k for k in range(K)], dim=1).float()
        counts = (labels < K).float()
    else:
        inside = torch.randint(0, 2, (2, K, 8, 8)).float()
        mask = torch.randint(0, 2, (2, 1, 8, 8)).float() if ignored else torch.zeros(2, 1, 8, 8)
        targets, counts = [torch.cat([inside, mask], dim=1) if ignored else inside], 1 - mask
    head = Head(kind, ignore_label=(K if kind == "softmax" else 1) if ignored else None)
    expected = [
        by_hand(level, inside[..., ::step, ::step], counts[..., ::step, ::step])
        for level, step in zip(maps, (1, 2), strict=True)
    ]
    torch.testing.assert_close(region_maps_loss(maps, targets, head), sum(expected))


def test_gradient_is_that_of_finite_differences() -> None:
    maps = torch.randn(1, K, 2, 2, dtype=torch.float64, requires_grad=True)
    targets = [torch.randint(0, K, (1, 1, 2, 2))]
    # Computed in single precision.
    run = lambda maps: region_maps_loss([maps], targets, Head("softmax"))  # noqa: E731
    assert torch.autograd.gradcheck(run, maps, eps=1e-2, atol=1e-3, rtol=1e-2)
