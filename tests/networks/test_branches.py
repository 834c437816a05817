from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.branches import find_pairs, fuse_subsets
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.fusion import mean_fusion
from nnunet_missingmod.networks.parallel import ParallelNetwork

PRESENT = torch.tensor([[True, True, True], [False, True, True]])


@pytest.fixture
def network(backbone: Callable[..., Any]) -> ParallelNetwork:
    inner = backbone(3, deep_supervision=True)
    return ParallelNetwork(ChannelEncoder(3, "shared", conv_op=nn.Conv2d), inner).double()


def batch() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, dtype=torch.float64).masked_fill(~PRESENT[..., None, None], float("nan"))


@pytest.mark.parametrize("present", [PRESENT, torch.ones(2, 3, dtype=torch.bool), torch.eye(3, dtype=torch.bool)])
def test_pairs_gather_what_is_there_and_scatter_it_back(present: torch.Tensor) -> None:
    pairs = find_pairs(present, torch.device("cpu"))
    values = torch.randn(*present.shape, 4)
    rows = pairs.gather(values)
    expected = [values[b, j] for b in range(len(present)) for j in range(3) if present[b, j]]
    assert torch.equal(rows, torch.stack(expected))
    assert torch.equal(pairs.scatter(rows), values * present[..., None])


def test_one_pair_stands_in_where_nothing_is_present() -> None:
    pairs = find_pairs(torch.zeros(2, 3, dtype=torch.bool), torch.device("cpu"))
    assert pairs.sample.tolist() == pairs.modality.tolist() == [0]
    assert not pairs.present.any()


@pytest.mark.parametrize("present", [PRESENT, torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)])
def test_the_mean_of_rows_is_the_mean_fusion_of_what_is_scattered(present: torch.Tensor) -> None:
    pairs = find_pairs(present, torch.device("cpu"))
    rows = torch.randn(len(pairs.sample), 4, 5, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 4, 5, dtype=torch.float64)
    for subset in all_subsets(3):
        kept = present & torch.tensor([j in subset for j in range(3)])
        ways = [pairs.mean(rows, kept), mean_fusion(pairs.scatter(rows), kept)]
        torch.testing.assert_close(*ways)
        torch.testing.assert_close(*(torch.autograd.grad(way, rows, upstream)[0] for way in ways))


def test_each_subset_equals_a_pass_of_its_own(network: ParallelNetwork) -> None:
    x = batch()
    seen = []
    for output in fuse_subsets(network(x, return_branches=True), all_subsets(3), return_features=True):
        kept = PRESENT & torch.tensor([j in output.subset for j in range(3)])
        if output.subset == (0,):
            kept[1] = PRESENT[1]  # the second sample has none of it and keeps what it has
        assert torch.equal(output.present, kept)
        logits, features = network(x, kept, return_features=True)
        for fused, expected in zip([*output.logits, *output.encoder], [*logits, *features.encoder], strict=True):
            torch.testing.assert_close(fused, expected)
        seen.append(output.subset)
    assert seen == all_subsets(3)


@pytest.mark.parametrize("broken", [float("inf"), float("nan")])
def test_a_branch_that_is_not_finite_spoils_only_the_subsets_that_it_belongs_to(
    network: ParallelNetwork, broken: float
) -> None:
    network.eval()
    with torch.no_grad():
        branches = network(batch()[:1], return_branches=True)
        for logits in branches.logits:
            logits[1] = broken
        for output in fuse_subsets(branches, all_subsets(3)):
            assert all(logits.isfinite().all() == (1 not in output.subset) for logits in output.logits)


def test_detached_branches_are_leaves_of_the_same_values_in_full_precision(network: ParallelNetwork) -> None:
    branches = network(batch(), return_branches=True)
    branches = branches._replace(encoder=[level.half() for level in branches.encoder])
    leaves = branches.detached()
    assert len(leaves.outputs()) == len(branches.logits) + len(branches.encoder)
    for leaf, output in zip(leaves.outputs(), branches.outputs(), strict=True):
        assert leaf.is_leaf
        assert leaf.requires_grad
        assert leaf.dtype == (torch.float32 if output.dtype == torch.float16 else torch.float64)
        torch.testing.assert_close(leaf.detach(), output.detach().to(leaf.dtype))
    assert leaves.latents is branches.latents


def test_a_subsets_output_is_freed_before_the_next_is_computed(network: ParallelNetwork) -> None:
    leaves = network(batch(), return_branches=True).detached()
    count = 0
    for output in fuse_subsets(leaves, all_subsets(3)):
        output.logits[0].sum().backward()
        references = [weakref.ref(logits) for logits in output.logits]
        del output
        assert all(reference() is None for reference in references)
        count += 1
    assert count == 7


@pytest.mark.parametrize("subset", [(), (3,), (-1,)])
def test_subsets_outside_the_modalities_are_refused(network: ParallelNetwork, subset: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"channels 0\.\.2, got"):
        next(fuse_subsets(network(batch(), return_branches=True), [subset]))
