"""Attention between modalities: against attention written out, and that what is not kept reaches nothing."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from torch import nn

from nnunet_missingmod.networks.bottleneck import (
    Positions,
    ReconstructionBottleneck,
    SharedSpecificBottleneck,
    TokenBottleneck,
    build_bottleneck,
)

B, J, C = 3, 3, 4
KEPT = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])


def features(grid: tuple[int, ...] = (2, 3)) -> torch.Tensor:
    return torch.randn(B, J, C, *grid, dtype=torch.float64)


def built(name: str, grid: tuple[int, ...] = (2, 3)) -> nn.Module:
    bottleneck = build_bottleneck(name, C, J, grid).double()
    with torch.no_grad():
        for parameter in bottleneck.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return bottleneck


BOTH = pytest.mark.parametrize("name", ["tokens", "reconstruction"])


def by_hand(block: nn.TransformerEncoderLayer, tokens: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """One sample's tokens (N, c) after a pre-norm transformer block with so many heads; keys is (N,) bool."""
    attention, heads = block.self_attn, block.self_attn.num_heads
    normed = block.norm1(tokens)
    query, key, value = (normed @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=1)
    of_heads = []
    for part in range(heads):
        columns = slice(part * C // heads, (part + 1) * C // heads)
        scores = query[:, columns] @ key[keys][:, columns].T / math.sqrt(C // heads)
        of_heads.append(scores.softmax(1) @ value[keys][:, columns])
    tokens = tokens + attention.out_proj(torch.cat(of_heads, dim=1))
    return tokens + block.linear2(nn.functional.gelu(block.linear1(block.norm2(tokens))))


def as_tokens(values: torch.Tensor) -> torch.Tensor:
    """(c, *grid) as (N, c)."""
    return values.flatten(1).T


@torch.no_grad()
def test_tokens_attend_within_their_modality_and_then_to_all_that_are_kept() -> None:
    values, bottleneck = features(), built("tokens")
    fused, of_them = bottleneck(values, KEPT)
    assert torch.equal(of_them, KEPT)
    positions = bottleneck.positions.values
    everything = torch.ones(6, dtype=torch.bool)
    for b in range(B):
        own = [by_hand(bottleneck.intra[j], as_tokens(values[b, j] + positions[j]), everything) for j in range(J)]
        placed = torch.cat([tokens + as_tokens(positions[j]) for j, tokens in enumerate(own)])
        expected = by_hand(bottleneck.inter, placed, KEPT[b].repeat_interleave(6)).unflatten(0, (J, 6))
        for j in range(J):
            if KEPT[b, j]:
                torch.testing.assert_close(as_tokens(fused[b, j]), expected[j])


@torch.no_grad()
def test_what_is_not_kept_is_made_up_of_the_others() -> None:
    values, bottleneck = features(), built("reconstruction")
    fused, of_them = bottleneck(values, KEPT)
    assert of_them.all()
    everything = torch.ones(3 * 6, dtype=torch.bool)
    for b in range(B):
        given = [values[b, j] if KEPT[b, j] else bottleneck.missing[j][:, None, None].expand(C, 2, 3) for j in range(J)]
        tokens = torch.cat([as_tokens(given[j] + bottleneck.positions.values[j]) for j in range(J)])
        expected = by_hand(bottleneck.block, tokens, everything).unflatten(0, (J, 6))
        for j in range(J):
            wanted = as_tokens(values[b, j]) if KEPT[b, j] else expected[j]
            torch.testing.assert_close(as_tokens(fused[b, j]), wanted)


@BOTH
@pytest.mark.parametrize("training", [True, False])
def test_what_is_not_kept_moves_no_bit_of_what_is_fused_and_gets_no_gradient(name: str, *, training: bool) -> None:
    bottleneck = built(name).train(training)
    values = features().requires_grad_()
    other = torch.where(KEPT[..., None, None, None], values, 7.0)
    fused, of_them = bottleneck(values, KEPT)
    counted = torch.where(of_them[..., None, None, None], fused, 0)
    with_other = torch.where(of_them[..., None, None, None], bottleneck(other, KEPT)[0], 0)
    assert torch.equal(counted, with_other)
    counted.square().sum().backward()
    assert (values.grad[~KEPT] == 0).all()
    assert (values.grad[KEPT] != 0).any()


@BOTH
@torch.no_grad()
def test_a_prediction_does_not_take_torchs_fused_layer_which_inductor_cannot_compile(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fused(*_arguments: object) -> None:
        raise AssertionError("fused")

    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", fused)
    values, bottleneck = features(), built(name)
    torch.testing.assert_close(bottleneck.eval()(values, KEPT)[0], bottleneck.train()(values, KEPT)[0])


@pytest.mark.slow
@pytest.mark.every
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's inductor needs a compiler")
@torch.no_grad()
def test_the_code_that_inductor_makes_predicts_the_same() -> None:
    torch._dynamo.reset()
    bottleneck = TokenBottleneck(8, J, (2, 3)).eval()
    values = torch.randn(B, J, 8, 2, 3)
    torch.testing.assert_close(torch.compile(bottleneck)(values, KEPT)[0], bottleneck(values, KEPT)[0])
    torch._dynamo.reset()


@BOTH
def test_each_sample_follows_its_own_subset(name: str) -> None:
    values, bottleneck = features(), built(name)
    together, _ = bottleneck(values, KEPT)
    for b in range(B):
        alone, _ = bottleneck(values[b : b + 1], KEPT[b : b + 1])
        torch.testing.assert_close(alone[0], together[b])


@BOTH
def test_a_sample_that_keeps_nothing_is_finite(name: str) -> None:
    values, bottleneck = features().requires_grad_(), built(name)
    fused, _ = bottleneck(values, torch.zeros_like(KEPT))
    fused.sum().backward()
    assert fused.isfinite().all()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in bottleneck.parameters())


@BOTH
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    bottleneck = built(name, (2,))
    values = torch.randn(2, J, C, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: bottleneck(values, KEPT[:2])[0], (values,))


@pytest.mark.parametrize("grid", [(2,), (2, 3), (2, 3, 2)])
def test_positions_of_another_grid_are_interpolated(grid: tuple[int, ...]) -> None:
    positions = Positions(C, J, grid)
    assert torch.equal(positions(grid), positions.values)
    larger = tuple(2 * size for size in grid)
    assert positions(larger).shape == (J, C, *larger)
    assert built("tokens", grid)(features(larger), KEPT)[0].isfinite().all()


def test_tokens_have_the_channels_of_their_level_and_as_many_heads_as_divide_them() -> None:
    assert TokenBottleneck(12, J, (2, 2)).inter.self_attn.num_heads == 4
    assert ReconstructionBottleneck(320, J, (2, 2)).block.self_attn.num_heads == 8
    with pytest.raises(ValueError, match="'nonsense'"):
        build_bottleneck("nonsense", C, J, (2,))


def test_shared_and_specific_features_are_joined_and_the_shared_mean_stands_in() -> None:
    shared, specific = features(), features()
    joins = SharedSpecificBottleneck(C, nn.Conv2d).double()
    fused, of_them = joins(shared, specific, KEPT)
    assert of_them.all()
    for b in range(B):
        there = [j for j in range(J) if KEPT[b, j]]
        mean = sum(shared[b, j] for j in there) / len(there)
        for j in range(J):
            own = shared[b, j] + joins.project(torch.cat([shared[b, j], specific[b, j]])[None])[0]
            torch.testing.assert_close(fused[b, j], own if j in there else mean)
    lacking = ~KEPT[..., None, None, None]
    with_other = joins(shared.masked_fill(lacking, torch.nan), specific.masked_fill(lacking, torch.nan), KEPT)[0]
    assert torch.equal(with_other, fused)


def test_the_gradient_of_joined_features_is_that_of_finite_differences() -> None:
    shared, specific = (features((2, 2)).requires_grad_() for _ in range(2))
    joins = SharedSpecificBottleneck(C, nn.Conv2d).double()
    assert torch.autograd.gradcheck(lambda *both: joins(*both, KEPT)[0], (shared, specific))
