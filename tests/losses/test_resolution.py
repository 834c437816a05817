"""Labels at the resolution of an output."""

from __future__ import annotations

import torch

from nnunet_missingmod.losses.resolution import at_resolution


def test_the_target_is_the_one_of_its_size_or_of_the_nearest_voxels() -> None:
    full = torch.arange(64).reshape(1, 1, 8, 8)
    half = full[..., ::2, ::2]
    assert at_resolution([full, half], (4, 4)) is half
    assert torch.equal(at_resolution([full], (4, 4)), half)
    regions = full > 20
    assert torch.equal(at_resolution([regions], (4, 4)), regions[..., ::2, ::2])
