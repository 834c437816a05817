from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.networks.norms import Condition, per_sample_instance_norm, replace_instance_norms


def test_each_row_is_normalised_with_its_own_affine_parameters() -> None:
    x = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    weight, bias = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    result = per_sample_instance_norm(x, weight, bias, eps=1e-3)
    for n in range(3):
        for c in range(2):
            values = x[n, c].flatten().tolist()
            mean = sum(values) / 20
            variance = sum((value - mean) ** 2 for value in values) / 20
            expected = weight[n, c] * (x[n, c] - mean) / (variance + 1e-3) ** 0.5 + bias[n, c]
            torch.testing.assert_close(result[n, c], expected)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_equal_rows_give_torchs_instance_norm_bit_for_bit(dimensions: int) -> None:
    norm: Any = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dimensions](4, affine=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(3, 4, *[6] * dimensions)
    result = per_sample_instance_norm(x, norm.weight.repeat(3, 1), norm.bias.repeat(3, 1), eps=norm.eps)
    assert torch.equal(result, norm(x))


def test_layer_registered_twice_is_replaced_once_under_both_names(backbone: Callable[..., Any]) -> None:
    network = backbone(1)
    count = sum(isinstance(module, nn.InstanceNorm2d) for module in network.modules())
    built: list[nn.Module] = []

    def build(original: nn.Module) -> nn.Module:
        built.append(nn.Identity())
        return built[-1]

    replace_instance_norms(network, build)
    assert len(built) == count
    assert not any(isinstance(module, nn.InstanceNorm2d) for module in network.modules())
    block = network.encoder.stages[0][0].convs[0]
    assert block.norm is block.all_modules[1]
    assert isinstance(block.norm, nn.Identity)


def test_norm_without_affine_parameters_is_left_alone() -> None:
    network = nn.Sequential(nn.InstanceNorm2d(3))
    replace_instance_norms(network, lambda _: nn.Identity())
    assert isinstance(network[0], nn.InstanceNorm2d)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)]
)
def test_other_normalisations_are_refused_by_name(norm: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"inner\.0 is"):
        replace_instance_norms(nn.ModuleDict({"inner": nn.Sequential(norm)}), lambda _: nn.Identity())


def test_condition_is_empty_between_batches_and_after_an_error() -> None:
    condition = Condition()
    with condition.set(torch.ones(1)):
        assert condition.get() == 1
    with pytest.raises(RuntimeError, match="call the network around it"):
        condition.get()
    with pytest.raises(KeyError), condition.set(torch.ones(1)):
        raise KeyError
    with pytest.raises(RuntimeError):
        condition.get()
