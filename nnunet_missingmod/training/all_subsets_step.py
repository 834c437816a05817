"""The mean of a loss over all subsets, in the memory of one; and surgery on what conflicts between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnunet_missingmod.keys import OFF
from nnunet_missingmod.losses.gradient_surgery import flatten, unflatten, without_conflicts
from nnunet_missingmod.losses.reduction import autocast_off
from nnunet_missingmod.modalities import Subset
from nnunet_missingmod.networks.branches import Branches, SubsetOutput, fuse_subsets

# The loss of a subset's output, and the values that are to be reported beside it.
Evaluate = Callable[[SubsetOutput], tuple[Tensor, Mapping[str, Tensor]]]


def mean_over_subsets(
    branches: Branches,
    subsets: Sequence[Subset],
    evaluate: Evaluate,
    *,
    parameters: Sequence[nn.Parameter],
    surgery: str = OFF,
    network: Sequence[nn.Parameter] = (),
    rng: np.random.Generator | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean loss over ``subsets``, and the mean of each reported value.

    The gradient is that of the plain mean. It is computed here, in float32 with autocast off: the factor by which mixed
    precision scales a loss is not known before ``backward``, and without it gradients in half precision would vanish.

    Args:
        branches: of a network fused at its logits; a subset's output has the levels of ``branches.encoder``.
        subsets: channels each.
        evaluate: called once per subset.
        parameters: what ``evaluate`` uses beside the branches, and is to have gradients.
        surgery: ``logits``: what conflicts between subsets is taken out of the gradients of the branches' outputs;
            ``parameters``: of those of the network's parameters, which takes a backward pass for each subset.
        network: its parameters, for the latter.
        rng: draws the orders of both.
    """
    leaves = branches.detached()
    tensors = [*leaves.outputs(), *parameters]
    # What is operated on is kept of each subset, and only the other gradients are added up.
    added_up = range(0 if surgery == OFF else len(leaves.outputs()), len(tensors))
    operated: list[Tensor] = []
    gradients: list[Tensor | None] = [None] * len(tensors)
    total: Tensor = torch.zeros((), device=leaves.latents.device)
    means: dict[str, Tensor] = {}
    with torch.enable_grad(), autocast_off(leaves.latents):
        for output in fuse_subsets(leaves, subsets, return_features=bool(leaves.encoder)):
            loss, values = evaluate(output)
            found = torch.autograd.grad(loss, tensors, allow_unused=True)
            if surgery != OFF:
                operated.append(_to_operate_on(found, branches, network if surgery == "parameters" else ()))
            for index in added_up:
                gradients[index] = _add(gradients[index], found[index], 1 / len(subsets))
            total = total + loss.detach() / len(subsets)
            means = {name: means.get(name, 0) + value.detach() / len(subsets) for name, value in values.items()}
    if surgery == OFF:
        return _Differentiated.apply(total, gradients, *branches.outputs(), *parameters), means
    assert rng is not None
    changed = list(network) if surgery == "parameters" else branches.outputs()
    with autocast_off(leaves.latents):
        after = unflatten(without_conflicts(torch.stack(operated), rng), changed)
    of_terms = [gradients[index] for index in added_up]
    return _Differentiated.apply(total, [*after, *of_terms], *changed, *parameters), means


def _to_operate_on(found: Sequence[Tensor | None], branches: Branches, network: Sequence[nn.Parameter]) -> Tensor:
    """Return one subset's gradient as a vector: of the network's parameters, or of the branches' outputs."""
    outputs = branches.outputs()
    of_outputs = found[: len(outputs)]
    if not network:
        return flatten(of_outputs, outputs)
    given = [(output, gradient) for output, gradient in zip(outputs, of_outputs, strict=True) if gradient is not None]
    scale = _scale_for_half_precision([output for output, _ in given], [gradient for _, gradient in given])
    of_network = torch.autograd.grad(
        [output for output, _ in given],
        list(network),
        [(gradient * scale).to(output.dtype) for output, gradient in given],
        retain_graph=True,
        allow_unused=True,
    )
    return flatten(of_network, network) / scale


def _scale_for_half_precision(outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor | float:
    """Return what gradients are multiplied by so that half precision holds them: 1 where there is none.

    The factor of mixed precision comes to the mean of the subsets, after this; so the largest gradient is brought to
    where that factor brings it at first in a training on patches of 128 x 128 x 128.
    """
    if not gradients or all(output.dtype != torch.float16 for output in outputs):
        return 1.0
    largest = torch.stack([gradient.abs().amax() for gradient in gradients]).amax()
    return 2.0**-6 / largest.clamp(min=torch.finfo(torch.float32).tiny)


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
