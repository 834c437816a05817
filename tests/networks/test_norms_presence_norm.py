from __future__ import annotations

import torch
from torch import nn

from nnunet_missingmod.networks.norms import Condition, PresenceInstanceNorm

PRESENT = torch.tensor([[True, False, True], [True, True, True], [False, False, True]])


def make() -> tuple[PresenceInstanceNorm, nn.InstanceNorm2d, Condition]:
    original = nn.InstanceNorm2d(2, eps=1e-3, affine=True, dtype=torch.float64)
    nn.init.normal_(original.weight)
    nn.init.normal_(original.bias)
    present = Condition()
    return PresenceInstanceNorm(original, 3, present), original, present


def test_each_absent_modality_moves_the_affine_parameters() -> None:
    layer, original, present = make()
    nn.init.normal_(layer.absent_scale)
    nn.init.normal_(layer.absent_shift)
    x = torch.randn(3, 2, 5, 5, dtype=torch.float64)
    with present.set(PRESENT):
        result = layer(x)
    normalised = nn.functional.instance_norm(x, eps=1e-3)
    for b in range(3):
        for c in range(2):
            weight, bias = original.weight[c].item(), original.bias[c].item()
            factor = 1.0
            for j in range(3):
                if not PRESENT[b, j]:
                    factor += layer.absent_scale[j, c].item()
                    bias += layer.absent_shift[j, c].item()
            torch.testing.assert_close(result[b, c], weight * factor * normalised[b, c] + bias)


def test_it_starts_as_the_original_bit_for_bit() -> None:
    layer, original, present = make()
    x = torch.randn(3, 2, 5, 5, dtype=torch.float64)
    with present.set(PRESENT):
        assert torch.equal(layer(x), original(x))


def test_complete_samples_keep_the_original_whatever_is_learned() -> None:
    layer, original, present = make()
    nn.init.normal_(layer.absent_scale)
    nn.init.normal_(layer.absent_shift)
    x = torch.randn(3, 2, 5, 5, dtype=torch.float64)
    with present.set(PRESENT):
        assert torch.equal(layer(x)[1], original(x)[1])


def test_offsets_of_present_modalities_get_zero_gradient() -> None:
    layer, _, present = make()
    with present.set(PRESENT[[0, 1]].contiguous()):
        layer(torch.randn(2, 2, 5, 5, dtype=torch.float64)).pow(3).sum().backward()
    for parameter in (layer.absent_scale, layer.absent_shift):
        assert (parameter.grad[[0, 2]] == 0).all()
        assert (parameter.grad[1] != 0).all()


def test_gradient_is_that_of_finite_differences() -> None:
    layer, _, present = make()
    nn.init.normal_(layer.absent_scale)
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def run(*values: torch.Tensor) -> torch.Tensor:
        with present.set(PRESENT):
            return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, tuple(layer.parameters()))
