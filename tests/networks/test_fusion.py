from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nnunet_missingmod.network_choices import FEATURE_FUSIONS
from nnunet_missingmod.networks.fusion import AttentionFusion, build_fusion, mean_fusion

PRESENT = torch.tensor([[True, False, True], [True, True, True], [False, True, False]])


def features() -> torch.Tensor:
    return torch.randn(3, 3, 2, 4, 4, dtype=torch.float64)


def attention(*, trained: bool = True) -> AttentionFusion:
    fusion = AttentionFusion(2, 3, nn.Conv2d).double()
    if trained:
        nn.init.normal_(fusion.score.weight)
        nn.init.normal_(fusion.compare.weight)
    return fusion


def built(name: str) -> nn.Module:
    """The fusion of this name, its parameters not at their start."""
    fusion = build_fusion(name, 2, 3, nn.Conv2d).double()
    for parameter in fusion.parameters():
        nn.init.normal_(parameter)
    return fusion


# These two return more than what they fused.
FUSIONS = [built(name) for name in FEATURE_FUSIONS if name not in ("region_aware", "gaussian_product")]


def test_every_fusion_of_the_choices_is_another_one() -> None:
    values = features()
    fused = [fusion(values, PRESENT) for fusion in FUSIONS]
    assert all(not torch.equal(one, other) for index, one in enumerate(fused) for other in fused[:index])
    with pytest.raises(ValueError, match="nonsense"):
        build_fusion("nonsense", 2, 3, nn.Conv2d)


def test_mean_equals_a_loop_over_the_present_modalities() -> None:
    values = features()
    fused = mean_fusion(values, PRESENT)
    for b in range(3):
        there = [values[b, j] for j in range(3) if PRESENT[b, j]]
        torch.testing.assert_close(fused[b], sum(there) / len(there))


def test_attention_equals_a_loop_over_voxels() -> None:
    values, fusion = features(), attention()
    fused = fusion(values, PRESENT)
    score = fusion.score.weight.flatten().tolist()
    compare = fusion.compare.weight.reshape(2, 3, 2)  # out, modality, in
    for b in range(3):
        there = [j for j in range(3) if PRESENT[b, j]]
        for x in range(4):
            for y in range(4):
                h = {j: values[b, j, :, x, y] for j in there}
                exponentials = {
                    j: math.exp(sum(s * v for s, v in zip(score, h[j].tolist(), strict=True))) for j in there
                }
                mean = sum(h.values()) / len(there)
                expected = sum(exponentials[j] * h[j] for j in there) / sum(exponentials.values())
                expected = expected + sum(compare[:, j] @ (h[j] - mean) for j in there)
                torch.testing.assert_close(fused[b, :, x, y], expected)


def test_attention_starts_as_the_mean() -> None:
    values = features()
    torch.testing.assert_close(attention(trained=False)(values, PRESENT), mean_fusion(values, PRESENT))


@pytest.mark.parametrize("name", ["mean", "attention"])
def test_lone_modality_is_returned_unchanged(name: str) -> None:
    values = features()
    assert torch.equal(built(name)(values, PRESENT)[2], values[2, 1])


def pointwise(fusion: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The fusion's last convolution at one voxel."""
    return fusion.reduce.weight.flatten(1) @ inputs


def test_concatenation_equals_a_loop_over_voxels() -> None:
    values, fusion = features(), built("concatenate")
    fused = fusion(values, PRESENT)
    for b in range(3):
        for x in range(4):
            there = [values[b, j, :, x, 0] if PRESENT[b, j] else torch.zeros(2).double() for j in range(3)]
            torch.testing.assert_close(fused[b, :, x, 0], pointwise(fusion, torch.cat(there)))


def test_moments_are_those_of_the_present_modalities() -> None:
    values, fusion = features(), built("moments")
    fused = fusion(values, PRESENT)
    for b in range(3):
        there = torch.stack([values[b, j] for j in range(3) if PRESENT[b, j]])
        mean, variance = there.mean(0), there.var(0, unbiased=False)
        expected = pointwise(fusion, torch.cat([mean, variance])[:, 1, 2])
        torch.testing.assert_close(fused[b, :, 1, 2], expected, rtol=1e-6, atol=1e-6)


def test_variance_is_computed_in_single_precision() -> None:
    fusion = build_fusion("moments", 2, 3, nn.Conv2d).half()
    nn.init.ones_(fusion.reduce.weight)
    values = (300 + 100 * features()).half()  # whose squares overflow half precision
    everything = torch.ones(3, 3, dtype=torch.bool)
    expected = (values.float().mean(1) + values.float().var(1, unbiased=False)).sum(1)
    torch.testing.assert_close(fusion(values, everything)[:, 0].float(), expected, rtol=2e-3, atol=1)


def test_gates_are_of_all_present_modalities_and_weigh_each() -> None:
    values, fusion = features(), built("gated")
    fused = fusion(values, PRESENT)
    filled = torch.where(PRESENT[..., None, None, None], values, 0.0)
    maps = nn.functional.conv2d(filled.reshape(3, 6, 4, 4), fusion.gate.weight, padding=1)
    centred = maps - maps.mean((2, 3), keepdim=True)
    gates = torch.sigmoid(centred / (maps.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt())
    for b in range(3):
        weighed = torch.cat([gates[b, j, 3, 2] * filled[b, j, :, 3, 2] for j in range(3)])
        torch.testing.assert_close(fused[b, :, 3, 2], pointwise(fusion, weighed))


def test_a_bottleneck_of_one_voxel_has_gates_too() -> None:
    assert built("gated")(features()[..., :1, :1], PRESENT).isfinite().all()


@pytest.mark.parametrize("name", ["concatenate", "moments"])
def test_what_reduces_starts_as_the_mean_of_a_complete_sample(name: str) -> None:
    values = features().float()
    start = build_fusion(name, 2, 3, nn.Conv2d)
    torch.testing.assert_close(start(values, PRESENT)[1], values[1].mean(0))


def test_slim_channels_that_add_up_are_only_put_side_by_side() -> None:
    values = features()
    fused = build_fusion("concatenate", 2, 3, nn.Conv2d, out_channels=6)(values, PRESENT)
    assert torch.equal(fused[1], values[1].flatten(0, 1))
    assert (fused[0, 2:4] == 0).all()


def test_slim_channels_that_are_too_many_start_as_a_selection() -> None:
    fusion = build_fusion("concatenate", 2, 3, nn.Conv2d, out_channels=5)
    values = features().float()
    torch.testing.assert_close(fusion(values, PRESENT)[1], values[1].flatten(0, 1)[:5])


@pytest.mark.parametrize("name", ["mean", "attention"])
def test_too_few_channels_are_refused_where_nothing_adds_them(name: str) -> None:
    with pytest.raises(ValueError, match="leaves 2 channels and the decoder expects 6"):
        build_fusion(name, 2, 3, nn.Conv2d, out_channels=6)


@pytest.mark.parametrize("name", ["concatenate", "moments", "gated"])
def test_gradient_of_what_reduces_is_that_of_finite_differences(name: str) -> None:
    fusion = built(name)
    values = torch.randn(2, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: fusion(values, PRESENT[:2]), (values,))


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: type(fusion).__name__)
def test_content_of_absent_modalities_changes_nothing(fusion: nn.Module) -> None:
    values = features()
    other = torch.where(PRESENT[..., None, None, None], values, float("nan"))
    assert torch.equal(fusion(values, PRESENT), fusion(other, PRESENT))


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: type(fusion).__name__)
def test_sample_with_nothing_present_gives_zeros_and_finite_gradients(fusion: nn.Module) -> None:
    values = features().requires_grad_()
    present = PRESENT.clone()
    present[0] = False
    fused = fusion(values, present)
    assert (fused[0] == 0).all()
    fused.square().sum().backward()
    assert values.grad.isfinite().all()
    assert (values.grad[0] == 0).all()
    assert all(parameter.grad.isfinite().all() for parameter in fusion.parameters())


def test_mean_does_not_depend_on_the_order_of_modalities() -> None:
    values, order = features(), [2, 0, 1]
    torch.testing.assert_close(mean_fusion(values[:, order], PRESENT[:, order]), mean_fusion(values, PRESENT))


def test_attention_renumbered_with_its_modalities_gives_the_same() -> None:
    values, fusion, order = features(), attention(), [2, 0, 1]
    expected = fusion(values, PRESENT)
    fusion.compare.weight.data = fusion.compare.weight.data.reshape(2, 3, 2, 1, 1)[:, order].reshape(2, 6, 1, 1)
    torch.testing.assert_close(fusion(values[:, order], PRESENT[:, order]), expected)


def test_attention_tells_a_difference_between_modalities_that_a_mean_cannot() -> None:
    fusion = attention(trained=False)
    with torch.no_grad():  # modality 2 minus modality 0, channel by channel
        fusion.compare.weight.copy_(torch.cat([-torch.eye(2), torch.zeros(2, 2), torch.eye(2)], dim=1)[..., None, None])
    values = features()
    swapped = values[:, [2, 1, 0]]
    everything = torch.ones(3, 3, dtype=torch.bool)
    torch.testing.assert_close(mean_fusion(values, everything), mean_fusion(swapped, everything))
    difference = fusion(values, everything) - fusion(swapped, everything)
    torch.testing.assert_close(difference, 2 * (values[:, 2] - values[:, 0]))


def test_large_half_precision_features_stay_finite() -> None:
    fusion = attention().to(torch.bfloat16)
    assert fusion((80 * features()).to(torch.bfloat16), PRESENT).isfinite().all()


def test_gradient_of_the_mean_is_that_of_finite_differences() -> None:
    values = features().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: mean_fusion(values, PRESENT), (values,))


def test_gradient_of_attention_is_that_of_finite_differences() -> None:
    fusion = attention()
    values = torch.randn(2, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)

    def run(values: torch.Tensor, score: torch.Tensor, compare: torch.Tensor) -> torch.Tensor:
        weights = {"score.weight": score, "compare.weight": compare}
        return torch.func.functional_call(fusion, weights, (values, PRESENT[:2]))

    assert torch.autograd.gradcheck(run, (values, fusion.score.weight, fusion.compare.weight))


def test_attention_reaches_score_and_comparison_from_its_initial_value() -> None:
    fusion = attention(trained=False)
    fusion(features(), PRESENT).pow(3).sum().backward()
    assert (fusion.score.weight.grad != 0).all()
    assert (fusion.compare.weight.grad != 0).any()
