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


def test_detached_branches_are_the_same_values_without_a_graph(network: ParallelNetwork) -> None:
    branches = network(batch(), return_branches=True)
    detached = branches.detached()
    assert len(detached.outputs()) == len(branches.logits) + len(branches.encoder)
    for without, output in zip(detached.outputs(), branches.outputs(), strict=True):
        assert without.data_ptr() == output.data_ptr()
        assert not without.requires_grad
    assert detached.latents is branches.latents


def test_a_subsets_output_is_freed_before_the_next_is_computed(network: ParallelNetwork) -> None:
    detached = network(batch(), return_branches=True).detached()
    count = 0
    for output in fuse_subsets(detached, all_subsets(3)):
        references = [weakref.ref(logits) for logits in output.logits]
        del output
        assert all(reference() is None for reference in references)
        count += 1
    assert count == 7


def test_means_of_half_precision_are_made_in_full_precision_piece_by_piece(
    network: ParallelNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = find_pairs(PRESENT, torch.device("cpu"))
    rows = torch.randn(len(pairs.sample), 3, 5, 7, generator=torch.Generator().manual_seed(0)).half()
    expected = pairs.mean(rows.float(), PRESENT)
    monkeypatch.setattr("nnunet_missingmod.networks.branches.WIDENED_AT_ONCE", 100)
    found = pairs.mean(rows, PRESENT)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    rows.requires_grad_()
    pairs.mean(rows, PRESENT).sum().backward()
    assert rows.grad is not None


@pytest.mark.parametrize("subset", [(), (3,), (-1,)])
def test_subsets_outside_the_modalities_are_refused(network: ParallelNetwork, subset: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"channels 0\.\.2, got"):
        next(fuse_subsets(network(batch(), return_branches=True), [subset]))
