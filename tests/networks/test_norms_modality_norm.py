from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nnunet_missingmod.networks.norms import Condition, ModalityInstanceNorm, use_modality_norms


def make(channels: int = 2, modalities: int = 3) -> tuple[ModalityInstanceNorm, Condition]:
    original = nn.InstanceNorm2d(channels, eps=1e-3, affine=True)
    nn.init.normal_(original.weight)
    modality = Condition()
    return ModalityInstanceNorm(original, modalities, modality).double(), modality


def test_each_row_equals_the_instance_norm_of_its_modality() -> None:
    layer, modality = make()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    rows = [2, 0, 2, 1]
    with modality.set(torch.tensor(rows)):
        result = layer(x)
    for n, j in enumerate(rows):
        single = nn.InstanceNorm2d(2, eps=1e-3, affine=True, dtype=torch.float64)
        single.load_state_dict({"weight": layer.weight[j].detach(), "bias": layer.bias[j].detach()})
        torch.testing.assert_close(result[n : n + 1], single(x[n : n + 1]))


def test_every_modality_starts_with_the_original_parameters(backbone: Callable[..., Any]) -> None:
    network, stock = backbone(1), backbone(1)
    stock.load_state_dict(network.state_dict())
    use_modality_norms(network, 3)
    for name, value in stock.state_dict().items():
        after = network.state_dict()[name]
        expected = value.expand(3, *value.shape) if after.shape != value.shape else value
        assert torch.equal(after, expected)
    assert network.state_dict().keys() == stock.state_dict().keys()


def test_modalities_outside_the_batch_get_zero_gradient() -> None:
    layer, modality = make()
    with modality.set(torch.tensor([0, 0, 2])):
        layer(torch.randn(3, 2, 5, 5, dtype=torch.float64)).pow(3).sum().backward()
    for parameter in (layer.weight, layer.bias):
        assert (parameter.grad[1] == 0).all()
        assert (parameter.grad[[0, 2]] != 0).all()


def test_gradient_is_that_of_finite_differences() -> None:
    layer, modality = make()
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        with modality.set(torch.tensor([2, 0, 2])):
            return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x, layer.weight, layer.bias))


def test_backbone_called_without_its_network_says_so(backbone: Callable[..., Any]) -> None:
    network = backbone(1)
    use_modality_norms(network, 3)
    with pytest.raises(RuntimeError, match="call the network around it"):
        network(torch.zeros(1, 1, 16, 16))
