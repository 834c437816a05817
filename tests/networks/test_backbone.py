from __future__ import annotations

import torch

from nnunet_missingmod.networks.backbone import count_outputs, map_logits


def test_logits_are_mapped_with_and_without_deep_supervision() -> None:
    logits = torch.ones(2)
    assert torch.equal(map_logits(torch.neg, logits), -logits)
    mapped = map_logits(torch.neg, [logits, 2 * logits])
    assert isinstance(mapped, list)
    assert [output.tolist() for output in mapped] == [[-1, -1], [-2, -2]]


def test_outputs_are_channels_times_voxels() -> None:
    assert count_outputs(3, (4, 5, 6)) == 3 * 4 * 5 * 6
