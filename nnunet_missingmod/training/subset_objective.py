"""The mean of a loss over all subsets of modalities, in the memory of one.

The parallel network fuses its branches' logits by their mean, so one pass of the branches yields every subset's
prediction. Their losses are evaluated one by one; each one's gradients are added up and its graph is freed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.losses.precision import autocast_off
from nnunet_missingmod.modalities import Subset
from nnunet_missingmod.networks.branches import Branches, SubsetOutput, fuse_subsets

# The loss of a subset's output, and the values that are to be reported beside it.
Evaluate = Callable[[SubsetOutput], tuple[Tensor, Mapping[str, Tensor]]]


def mean_over_subsets(
    branches: Branches, subsets: Sequence[Subset], evaluate: Evaluate, *, parameters: Sequence[nn.Parameter]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean loss over ``subsets``, and the mean of each reported value.

    The gradient is that of the plain mean. It is computed here, in float32 with autocast off: the factor by which mixed
    precision scales a loss is not known before ``backward``, and without it gradients in half precision would vanish.

    Args:
        branches: of a network fused at its logits; a subset's output has the levels of ``branches.encoder``.
        subsets: channels each.
        evaluate: called once per subset.
        parameters: what ``evaluate`` uses beside the branches, and is to have gradients.
    """
    leaves = branches.detached()
    tensors = [*leaves.outputs(), *parameters]
    gradients: list[Tensor | None] = [None] * len(tensors)
    total: Tensor = torch.zeros((), device=leaves.latents.device)
    means: dict[str, Tensor] = {}
    with torch.enable_grad(), autocast_off(leaves.latents):
        for output in fuse_subsets(leaves, subsets, return_features=bool(leaves.encoder)):
            loss, values = evaluate(output)
            for index, gradient in enumerate(torch.autograd.grad(loss, tensors, allow_unused=True)):
                gradients[index] = _add(gradients[index], gradient, 1 / len(subsets))
            total = total + loss.detach() / len(subsets)
            means = {name: means.get(name, 0) + value.detach() / len(subsets) for name, value in values.items()}
    return _Differentiated.apply(total, gradients, *branches.outputs(), *parameters), means


class _Differentiated(torch.autograd.Function):
    """A scalar whose gradients with respect to the inputs are known already; None for those without influence."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor | None], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [tensor.dtype for tensor in inputs]
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (factor,) = outputs
        scaled = [
            None if gradient is None else (factor * gradient).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return None, None, *scaled


def _add(total: Tensor | None, gradient: Tensor | None, factor: float) -> Tensor | None:
    if gradient is None:
        return total
    return gradient * factor if total is None else total.add_(gradient, alpha=factor)
