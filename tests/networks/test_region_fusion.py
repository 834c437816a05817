"""Region-aware fusion against its formula, voxel by voxel and region by region."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from nnunet_missingmod.networks import region_fusion
from nnunet_missingmod.networks.region_fusion import RegionAwareFusion

B, J, C, OUT, K = 2, 3, 2, 6, 2
PRESENT = torch.tensor([[True, False, True], [True, True, True]])


def built(decoded: int = 3) -> RegionAwareFusion:
    fusion = RegionAwareFusion(C, J, nn.Conv2d, OUT, num_outputs=K, decoded_channels=decoded).double()
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return fusion


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(B, J, C, 4, 4, dtype=torch.float64), torch.randn(B, 3, 4, 4, dtype=torch.float64)


@torch.no_grad()
def test_it_equals_its_formula() -> None:
    (values, decoded), fusion = inputs(), built()
    fused, maps = fusion(values, PRESENT, decoded)
    for b in range(B):
        features = [values[b, j] if PRESENT[b, j] else torch.zeros_like(values[b, j]) for j in range(J)]
        joined = torch.cat(features)
        found = fusion.phi(joined[None])
        expected = fusion.maps(fusion.before_maps(torch.cat([decoded[b : b + 1], found], dim=1)))[0]
        torch.testing.assert_close(maps[b], expected)
        q = list(expected.sigmoid())
        q.append(1 - torch.stack(q).amax(0))
        regions = []
        for k, q_k in enumerate(q):
            means = [(q_k * channel).mean() / (q_k.mean() + 1e-7) for feature in features for channel in feature]
            u = torch.stack([*means, q_k.mean()])
            w = torch.sigmoid(functional.leaky_relu(u @ fusion.hidden[k], 0.01) @ fusion.weigh[k])
            regions.append(sum(w[j] * q_k * features[j] for j in range(J)))
        of_regions = fusion.of_regions(torch.cat(regions)[None])
        of_modalities = fusion.of_modalities(joined[None])
        torch.testing.assert_close(fused[b], torch.cat([of_regions, of_modalities], dim=1)[0])


def test_content_of_absent_modalities_changes_nothing_and_gets_no_gradient() -> None:
    (values, decoded), fusion = inputs(), built()
    values.requires_grad_()
    other = torch.where(PRESENT[..., None, None, None], values, torch.nan)
    fused, maps = fusion(values, PRESENT, decoded)
    with_other = fusion(other, PRESENT, decoded)
    assert torch.equal(fused, with_other.fused)
    assert torch.equal(maps, with_other.maps)
    (fused.square().sum() + maps.sum()).backward()
    assert (values.grad[~PRESENT] == 0).all()
    assert (values.grad[PRESENT] != 0).any()


def test_each_sample_follows_its_own_subset() -> None:
    (values, decoded), fusion = inputs(), built()
    together = fusion(values, PRESENT, decoded).fused
    for b in range(B):
        alone = fusion(values[b : b + 1], PRESENT[b : b + 1], decoded[b : b + 1]).fused
        torch.testing.assert_close(alone[0], together[b])


def test_nothing_present_gives_zeros_and_finite_gradients() -> None:
    values, fusion = inputs()[0].requires_grad_(), built(decoded=0)
    fused, maps = fusion(values, torch.zeros_like(PRESENT), None)
    assert (fused == 0).all()
    (fused.sum() + maps.sum()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in fusion.parameters())


def test_the_maps_learn_from_labels_alone() -> None:
    (values, decoded), fusion = inputs(), built()
    fused, maps = fusion(values, PRESENT, decoded)
    assert all(gradient is None for gradient in torch.autograd.grad(
        fused.sum(), list(fusion.maps.parameters()), allow_unused=True, retain_graph=True))  # fmt: skip
    assert all((gradient != 0).any() for gradient in torch.autograd.grad(maps.sum(), list(fusion.maps.parameters())))


@pytest.mark.parametrize("decoded", [0, 3])
def test_a_bottleneck_of_one_voxel_is_fused_too(decoded: int) -> None:
    (values, upsampled), fusion = inputs(), built(decoded)
    fused = fusion(values[..., :1, :1], PRESENT, upsampled[..., :1, :1] if decoded else None).fused
    assert fused.isfinite().all()


def test_gradient_is_that_of_finite_differences() -> None:
    fusion = built(decoded=0)
    values = torch.randn(1, J, C, 3, 2, dtype=torch.float64, requires_grad=True)
    # Through the weights; the maps, through which no gradient goes, are left out by their own weights of zero.
    nn.init.zeros_(fusion.maps.weight)
    assert torch.autograd.gradcheck(lambda values: fusion(values, PRESENT[:1], None).fused, (values,))


@torch.no_grad()
def test_sums_over_a_patch_are_not_made_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many voxels as a patch has on a GPU; float16 ends at 65,504."""
    monkeypatch.setattr(region_fusion, "WIDENED_AT_ONCE", 2**19)  # of 2**21 numbers, in pieces
    fusion = RegionAwareFusion(C, 2, nn.Conv3d, OUT, num_outputs=K, decoded_channels=0)
    values, present = 1 + torch.rand(1, 2, C, 80, 80, 80), torch.ones(1, 2, dtype=torch.bool)
    assert float(values[0, 0, 0].sum()) / 2 > 65504
    expected = fusion(values, present, None)
    with torch.autocast("cpu", dtype=torch.float16):
        found = fusion(values.half(), present, None)
    for half, full in zip(found, expected, strict=True):
        torch.testing.assert_close(half.float(), full, rtol=0, atol=0.1)
