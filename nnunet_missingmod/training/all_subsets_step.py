"""The mean of a loss over all subsets, in the memory of one; and surgery on what conflicts between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nnunet_missingmod.keys import OFF
from nnunet_missingmod.losses.gradient_surgery import (
    flatten,
    unflatten,
    weights_without_conflicts,
    without_conflicts,
)
from nnunet_missingmod.losses.reduction import autocast_off
from nnunet_missingmod.modalities import Subset
from nnunet_missingmod.networks.branches import Branches, SubsetOutput, fuse_subsets

# The loss of a subset's output, and the values that are to be reported beside it.
Evaluate = Callable[[SubsetOutput], tuple[Tensor, Mapping[str, Tensor]]]

# Where mixed precision's factor brings the largest gradient at first, in a training on patches of 128 x 128 x 128.
_LARGEST = 2.0**-6
# The largest gradient is then 2^-24, the least that half precision holds: below this, all of them would be zero.
_LEAST_SHARE = 2.0**-18
# A step that is lost here halves GradScaler's factor, too, which doubles after 2,000 others: were this one raised as
# often, that one would not recover.
_STEPS_TO_GROW = 4000


class SurgeryScale:
    """What the gradients of a subset are multiplied by so that half precision holds them on their way back.

    The factor of mixed precision comes to the mean of the subsets, after this, so that it cures no overflow here. Hence
    this one adapts as that one does: it halves with each backward pass that overflows, and doubles after many steps
    without one, up to where it began. It is kept on the device, so that no step waits for it, and not in the
    checkpoint: a training that goes on finds it again within a few steps.
    """

    def __init__(self) -> None:
        self._share: Tensor | None = None
        self._steps: Tensor | None = None

    def of(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the factor for a subset's gradients: the largest becomes 2^-6, or the share of it that fits."""
        largest = torch.stack([gradient.abs().amax() for gradient in gradients]).amax()
        if self._share is None:
            self._share, self._steps = torch.ones_like(largest), torch.zeros_like(largest)
        return _LARGEST * self._share / largest.clamp(min=torch.finfo(torch.float32).tiny)

    def note(self, factor: Tensor, vector: Tensor) -> None:
        """Halve what follows if the backward pass of finite gradients, so multiplied, gave a vector that is not."""
        assert self._share is not None
        assert self._steps is not None
        # The factor is zero or NaN where what it was made for is not finite.
        overflowed = (factor > 0) & ~torch.linalg.vector_norm(vector).isfinite()
        self._share = torch.where(overflowed, self._share / 2, self._share).clamp(min=_LEAST_SHARE)
        self._steps = torch.where(overflowed, 0, self._steps)

    def end_step(self) -> None:
        """Count a step whose backward passes have been noted; double what follows after many without overflow."""
        if self._share is None or self._steps is None:
            return
        self._steps = self._steps + 1
        grows = self._steps >= _STEPS_TO_GROW
        self._share = torch.where(grows, (2 * self._share).clamp(max=1), self._share)
        self._steps = torch.where(grows, 0, self._steps)


def mean_over_subsets(
    branches: Branches,
    subsets: Sequence[Subset],
    evaluate: Evaluate,
    *,
    parameters: Sequence[nn.Parameter],
    surgery: str = OFF,
    network: Sequence[nn.Parameter] = (),
    scale: SurgeryScale | None = None,
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
        scale: the training's, for the latter, which adapts to this step.
        rng: draws the orders of both.
    """
    rows = branches.outputs()
    of_rows: list[Tensor | None] = [None] * len(rows)
    of_parameters: list[Tensor | None] = [None] * len(parameters)
    operated: list[_OfSubset] = []
    of_network: list[Tensor] = []
    share = 1 / len(subsets)
    total: Tensor = torch.zeros((), device=branches.latents.device)
    means: dict[str, Tensor] = {}
    with torch.enable_grad(), autocast_off(branches.latents):
        for output in fuse_subsets(branches.detached(), subsets, return_features=bool(branches.encoder)):
            leaves = [tensor.requires_grad_() for tensor in output.outputs()]
            loss, values = evaluate(output)
            found = torch.autograd.grad(loss, [*leaves, *parameters], allow_unused=True)
            of_subset = _OfSubset(found[: len(rows)], branches.pairs.weights(output.present, leaves[0].dtype))
            if surgery == OFF:
                of_rows = of_subset.add_to(of_rows, rows, share)
            elif surgery == "logits":
                operated.append(of_subset)
            else:
                assert scale is not None
                of_network.append(_of_network(of_subset.add_to([None] * len(rows), rows, 1), rows, network, scale))
            of_parameters = [
                _add(so_far, new, share) for so_far, new in zip(of_parameters, found[len(rows) :], strict=True)
            ]
            total = total + loss.detach() * share
            means = {name: means.get(name, 0) + value.detach() * share for name, value in values.items()}
            del output, leaves, loss, values, found, of_subset  # before the next one is made
        changed: Sequence[Tensor] = rows
        if surgery == "parameters":
            assert rng is not None
            assert scale is not None
            scale.end_step()
            changed = network
            of_rows = [*unflatten(without_conflicts(torch.stack(of_network), rng), network)]
        elif surgery == "logits":
            assert rng is not None
            weights = weights_without_conflicts(_products(operated), rng)
            for of_subset, weight in zip(operated, weights.tolist(), strict=True):
                of_rows = of_subset.add_to(of_rows, rows, weight)
    return _Differentiated.apply(total, [*of_rows, *of_parameters], *changed, *parameters), means


class _OfSubset(NamedTuple):
    """The gradient of one subset's loss, in the size of its output rather than in that of the branches.

    Attributes:
        of_output: (B, ...) of each of its tensors, None where there is no influence.
        weights: (B, N) with which these tensors were made of rows (N, ...).
    """

    of_output: Sequence[Tensor | None]
    weights: Tensor

    def add_to(self, totals: Sequence[Tensor | None], rows: Sequence[Tensor], factor: float) -> list[Tensor | None]:
        """Return ``totals`` plus ``factor`` times the gradients of the rows, added in place."""
        added = []
        for total, gradient, like in zip(totals, self.of_output, rows, strict=True):
            if gradient is not None:
                if total is None:
                    total = torch.zeros(like.shape, dtype=gradient.dtype, device=like.device)
                total.view(len(like), -1).addmm_(self.weights.T, gradient.flatten(1), alpha=factor)
            added.append(total)
        return added


def _products(gradients: Sequence[_OfSubset]) -> Tensor:
    """Return the products (S, S) of the gradients W_s^T g_s of the rows, without making these::

        sum_n (W_s^T g_s)_n . (W_t^T g_t)_n = sum_b (W_s W_t^T)_bb g_sb . g_tb

    since a row belongs to one sample alone.
    """
    weights = torch.stack([gradient.weights for gradient in gradients])  # (S, B, N)
    shared = torch.einsum("sbn,tbn->bst", weights, weights)
    products = torch.zeros_like(shared[0])
    for of_tensor in zip(*(gradient.of_output for gradient in gradients), strict=True):
        like = next((found for found in of_tensor if found is not None), None)
        for sample in range(0 if like is None else len(shared)):
            nothing = torch.zeros_like(like[sample])  # type: ignore[index]
            vectors = torch.stack([nothing if found is None else found[sample] for found in of_tensor]).flatten(1)
            products += shared[sample] * (vectors @ vectors.T)
    return products


def _of_network(
    of_rows: Sequence[Tensor | None], rows: Sequence[Tensor], network: Sequence[nn.Parameter], scale: SurgeryScale
) -> Tensor:
    """Return one subset's gradient of the network's parameters as a vector."""
    given = [(output, gradient) for output, gradient in zip(rows, of_rows, strict=True) if gradient is not None]
    in_half = any(output.dtype == torch.float16 for output, _ in given)
    factor = scale.of([gradient for _, gradient in given]) if in_half else 1.0
    found = torch.autograd.grad(
        [output for output, _ in given],
        list(network),
        [(gradient * factor).to(output.dtype) for output, gradient in given],
        retain_graph=True,
        allow_unused=True,
    )
    vector = flatten(found, network)
    if isinstance(factor, Tensor):
        scale.note(factor, vector)
    return vector / factor


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
