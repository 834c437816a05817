"""Alignment to an anchor: the four anchors against plain loops, absence, and the learnable mixture."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from nnunet_missingmod.losses.alignment import AnchorAlignmentLoss, anchor_alignment_loss
from nnunet_missingmod.modalities import all_subsets

NAMES = ("T1", "T2", "T1ce", "FLAIR")
ANCHORS = ("modality", "mixture", "normal")
WEIGHTS = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
PRESENT = torch.tensor([[1, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]], dtype=torch.bool)
NAN = float("nan")


def latents(*spatial: int, seed: int = 0) -> Tensor:
    """Return latents (4, 4, 2, *spatial), float64."""
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn((4, 4, 2, *spatial), dtype=torch.float64, generator=generator) + 0.3


def loss_of(z: Tensor, present: Tensor, anchor: str, *, channel: int = 3, weights: Tensor = WEIGHTS) -> Tensor:
    return anchor_alignment_loss(z, present, anchor=anchor, anchor_channel=channel, mixture_weights=weights)


def weights_of(loss: AnchorAlignmentLoss) -> Tensor:
    weights = loss.mixture_weights()
    assert weights is not None
    return weights.detach()


def oracle(z: Tensor, present: Tensor, anchor: str, k: int, w: list[float]) -> float:
    """Equations 12 and 13 and the normal anchor, term by term, in plain Python."""
    of_samples = []
    for b in range(z.shape[0]):
        here = [j for j in range(z.shape[1]) if present[b, j]]
        if not here or (anchor == "modality" and k not in here):
            continue
        of_modalities = []
        for j in here:
            of_channels = []
            for c in range(z.shape[2]):
                values = {i: z[b, i, c].flatten().tolist() for i in here}
                n = len(values[j])
                if anchor == "normal":
                    mean = sum(values[j]) / n
                    variance = sum((value - mean) ** 2 for value in values[j]) / n
                    of_channels.append(0.5 * (variance + mean**2 - 1 - math.log(variance)))
                    continue
                total = 0.0
                for voxel in range(n):
                    if anchor == "modality":
                        target = values[k][voxel]
                    else:
                        target = sum(w[i] * values[i][voxel] for i in here) / sum(w[i] for i in here)
                    total += (values[j][voxel] - target) ** 2
                of_channels.append(total / n)
            of_modalities.append(sum(of_channels) / len(of_channels))
        of_samples.append(sum(of_modalities) / len(of_modalities))
    return sum(of_samples) / len(of_samples)


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("spatial", [(3, 2), (3, 2, 2)])
def test_loss_equals_the_equation(anchor: str, spatial: tuple[int, ...]) -> None:
    z = latents(*spatial)
    expected = oracle(z, PRESENT, anchor, 3, WEIGHTS.tolist())
    assert loss_of(z, PRESENT, anchor).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("anchor", ["modality", "mixture"])
def test_equal_latents_have_no_distance(anchor: str) -> None:
    z = latents(3, 2, 2)[:, :1].expand(-1, 4, -1, -1, -1, -1)
    assert loss_of(z, PRESENT, anchor).item() == pytest.approx(0, abs=1e-30)


def test_a_standard_normal_latent_has_no_distance_to_the_normal_anchor() -> None:
    z = torch.tensor([1.0, -1.0], dtype=torch.float64).expand(4, 4, 2, 3, 2)  # mean 0, variance 1
    assert loss_of(z, PRESENT, "normal").item() == 0
    assert loss_of(z + 0.1, PRESENT, "normal").item() == pytest.approx(0.1**2 / 2)
    assert loss_of(2 * z, PRESENT, "normal").item() == pytest.approx((4 - 1 - math.log(4)) / 2)


def test_normal_anchor_equals_the_kl_of_torch_distributions() -> None:
    z = latents(5, 4)
    each = torch.distributions.Normal(z.mean((3, 4)), z.std((3, 4), correction=0))
    expected = torch.distributions.kl_divergence(each, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(loss_of(z, torch.ones(4, 4, dtype=torch.bool), "normal"), expected)


def test_a_constant_latent_has_a_finite_distance_to_the_normal_anchor() -> None:
    z = torch.full((1, 1, 1, 4), 2.0, requires_grad=True)
    loss = anchor_alignment_loss(z, torch.ones(1, 1, dtype=torch.bool), anchor="normal")
    (gradient,) = torch.autograd.grad(loss, z)
    assert loss.isfinite()
    assert (gradient > 0).all()


def test_no_anchor_is_zero() -> None:
    assert loss_of(latents(2, 2), PRESENT, "none").item() == 0


@pytest.mark.parametrize("anchor", ANCHORS)
def test_absent_modality_has_no_influence_and_gets_no_gradient_even_if_it_is_nan(anchor: str) -> None:
    clean = latents(3, 2, 2)
    for content in (NAN, math.inf, 1e30):
        z = torch.where(PRESENT[:, :, None, None, None, None], clean, content).requires_grad_()
        weights = WEIGHTS.clone().requires_grad_()
        loss = loss_of(z, PRESENT, anchor, weights=weights)
        assert torch.equal(loss, loss_of(clean, PRESENT, anchor))
        loss.backward()
        assert z.grad is not None
        assert z.grad.isfinite().all()
        assert (z.grad[~PRESENT] == 0).all()
        if anchor == "mixture":
            assert weights.grad is not None
            assert weights.grad.isfinite().all()


def test_a_sample_without_the_anchor_modality_has_no_term() -> None:
    z = latents(3, 2, 2).requires_grad_()
    with_anchor = PRESENT[:, 3]
    loss = loss_of(z, PRESENT, "modality")
    torch.testing.assert_close(loss, loss_of(z[with_anchor], PRESENT[with_anchor], "modality"))
    (gradient,) = torch.autograd.grad(loss, z)
    assert (gradient[~with_anchor] == 0).all()


def test_if_no_sample_has_a_term_the_loss_is_a_zero_that_keeps_the_graph() -> None:
    z = latents(3, 2).requires_grad_()
    loss = loss_of(z, torch.tensor([[True, False, True, False]]).expand(4, 4), "modality", channel=1)
    loss.backward()
    assert loss.item() == 0
    assert z.grad is not None
    assert (z.grad == 0).all()


@pytest.mark.parametrize("anchor", ["modality", "mixture"])
def test_a_modality_alone_is_its_own_anchor(anchor: str) -> None:
    only = torch.tensor([[False, False, False, True]]).expand(4, 4)
    assert loss_of(latents(3, 2), only, anchor).item() == pytest.approx(0, abs=1e-30)


def test_mixture_of_one_hot_weights_is_the_modality_anchor() -> None:
    everything = torch.ones(4, 4, dtype=torch.bool)
    one_hot = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    z = latents(3, 2, 2)
    torch.testing.assert_close(
        loss_of(z, everything, "mixture", weights=one_hot), loss_of(z, everything, "modality", channel=3)
    )


@pytest.mark.parametrize("subset", all_subsets(4))
def test_mixture_falls_back_to_the_plain_mean_where_the_present_weights_vanish(subset: tuple[int, ...]) -> None:
    z = latents(3, 2)
    present = torch.zeros(4, 4, dtype=torch.bool)
    present[:, list(subset)] = True
    weights = torch.tensor([float(j not in subset) for j in range(4)], dtype=torch.float64, requires_grad=True)
    loss = loss_of(z, present, "mixture", weights=weights)
    expected = oracle(z, present, "mixture", 3, [1.0] * 4)
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, weights)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("anchor", ANCHORS)
def test_the_order_of_the_modalities_does_not_matter(anchor: str) -> None:
    z = latents(3, 2)
    expected = loss_of(z, PRESENT, anchor)
    for order in permutations(range(4)):
        found = loss_of(z[:, order], PRESENT[:, order], anchor, channel=order.index(3), weights=WEIGHTS[list(order)])
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_the_value_does_not_depend_on_the_patch_size(anchor: str) -> None:
    z = latents(3, 2, 2)
    torch.testing.assert_close(loss_of(z.repeat(1, 1, 1, 2, 3, 2), PRESENT, anchor), loss_of(z, PRESENT, anchor))


@pytest.mark.parametrize("anchor", ANCHORS)
def test_gradient_is_right(anchor: str) -> None:
    z = latents(3, 1).requires_grad_()
    weights = WEIGHTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: loss_of(x, PRESENT, anchor, weights=w), (z, weights))


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_latents_are_computed_in_float32(anchor: str, dtype: torch.dtype) -> None:
    z = (400 * latents(4, 4)).to(dtype).requires_grad_()  # the squares are beyond float16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(z, PRESENT, anchor)
    (gradient,) = torch.autograd.grad(loss, z)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, loss_of(z.detach().double(), PRESENT, anchor).float())
    assert gradient.isfinite().all()


def test_mixture_starts_near_the_anchor_modality() -> None:
    loss = AnchorAlignmentLoss("mixture", NAMES, anchor_modality="FLAIR")
    assert weights_of(loss).tolist() == pytest.approx([0.01 / 3, 0.01 / 3, 0.01 / 3, 0.99])


def test_mixture_weights_leave_their_start_and_stay_a_mixture() -> None:
    """The best anchor of latents 0, 0, 0 and 1 is their mean, far from the fourth where the weights start."""
    loss = AnchorAlignmentLoss("mixture", NAMES, anchor_modality="FLAIR")
    optimiser = torch.optim.SGD(loss.parameters(), lr=2.0)
    z = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 4, 1, 1, 1).expand(2, 4, 3, 2, 2)
    present = torch.ones(2, 4, dtype=torch.bool)
    for _ in range(100):
        optimiser.zero_grad()
        loss(z, present).backward()
        optimiser.step()
        weights = weights_of(loss)
        assert (weights >= 0).all()
        assert weights.sum().item() == pytest.approx(1)
    assert weights_of(loss).tolist() == pytest.approx([0.25] * 4, abs=0.01)


def test_weight_decay_pulls_the_mixture_to_its_start() -> None:
    loss = AnchorAlignmentLoss("mixture", NAMES, anchor_modality="FLAIR").double()
    start = weights_of(loss)
    with torch.no_grad():
        loss.log_weight_offsets.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.1, weight_decay=1.0)
    only = torch.tensor([[False, False, False, True]]).expand(4, 4)  # distance and gradient are zero
    for _ in range(200):
        optimiser.zero_grad()
        loss(latents(2), only).backward()
        optimiser.step()
    torch.testing.assert_close(weights_of(loss), start, atol=1e-6, rtol=0)


def test_mixture_weights_take_part_in_every_step() -> None:
    loss = AnchorAlignmentLoss("mixture", NAMES, anchor_modality="FLAIR").double()
    for subset in all_subsets(4):
        present = torch.zeros(4, 4, dtype=torch.bool)
        present[:, list(subset)] = True
        loss.zero_grad(set_to_none=True)
        loss(latents(2, 2), present).backward()
        assert loss.log_weight_offsets.grad is not None
        assert loss.log_weight_offsets.grad.isfinite().all()


def test_module_equals_function_and_restores_its_weights() -> None:
    z = latents(3, 2)
    loss = AnchorAlignmentLoss("mixture", NAMES, anchor_modality="T2").double()
    with torch.no_grad():
        loss.log_weight_offsets.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    torch.testing.assert_close(loss(z, PRESENT), loss_of(z, PRESENT, "mixture", weights=weights_of(loss)))
    restored = AnchorAlignmentLoss("mixture", NAMES, anchor_modality="T1").double()
    restored.load_state_dict(loss.state_dict())
    assert torch.equal(restored(z, PRESENT), loss(z, PRESENT))
    modality = AnchorAlignmentLoss("modality", NAMES, anchor_modality="T2")
    torch.testing.assert_close(modality(z, PRESENT), loss_of(z, PRESENT, "modality", channel=1))


def test_one_modality_makes_a_mixture() -> None:
    loss = AnchorAlignmentLoss("mixture", ["CT"], anchor_modality="CT")
    assert loss(latents(2)[:, :1].float(), torch.ones(4, 1, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("anchor", ["normal", "none"])
def test_only_the_mixture_has_parameters(anchor: str) -> None:
    loss = AnchorAlignmentLoss(anchor, NAMES)
    assert not loss.state_dict()
    assert loss.mixture_weights() is None


@pytest.mark.parametrize("anchor_modality", [None, "flair"])
@pytest.mark.parametrize("anchor", ["modality", "mixture"])
def test_an_unknown_anchor_modality_is_refused_with_the_names_there_are(
    anchor: str, anchor_modality: str | None
) -> None:
    with pytest.raises(ValueError, match="among T1, T2, T1ce, FLAIR, got"):
        AnchorAlignmentLoss(anchor, NAMES, anchor_modality=anchor_modality)


def test_an_unknown_anchor_is_refused() -> None:
    with pytest.raises(ValueError, match="'median'; choose one of none, modality, mixture, normal"):
        AnchorAlignmentLoss("median", NAMES)
    with pytest.raises(ValueError, match="'median'"):
        anchor_alignment_loss(latents(2), PRESENT, anchor="median")


def test_inputs_that_do_not_fit_are_refused() -> None:
    z = latents(2, 2)
    with pytest.raises(ValueError, match=r"bool present \(B, J\)"):
        loss_of(z, PRESENT.float(), "normal")
    with pytest.raises(ValueError, match=r"bool present \(B, J\)"):
        loss_of(z, PRESENT[:, :3], "normal")
    with pytest.raises(ValueError, match=r"anchor_channel of 0\.\.3, got 4"):
        loss_of(z, PRESENT, "modality", channel=4)
    with pytest.raises(ValueError, match=r"anchor_channel of 0\.\.3, got None"):
        anchor_alignment_loss(z, PRESENT, anchor="modality")
    with pytest.raises(ValueError, match=r"mixture_weights of shape \(4,\), got None"):
        anchor_alignment_loss(z, PRESENT, anchor="mixture")
