"""Gradient surgery: of several objectives' gradients, what points against another objective is taken out.

Source: Wang et al., Gradient-Guided Modality Decoupling for Missing-Modality Robustness (GGMD), AAAI 2024, Eq. 4; the
projection is that of Yu et al., Gradient Surgery for Multi-Task Learning (PCGrad), NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nnunet_missingmod.losses.reduction import at_least_float32


def without_conflicts(gradients: Tensor, rng: np.random.Generator) -> Tensor:
    """Return the mean of gradients, each projected off those that it conflicts with::

        for each i, for j != i in random order: if g_i . h_j < 0, g_i <- g_i - (g_i . h_j) / |h_j|^2 h_j

    with h_j the gradient of objective j before any projection.

    Args:
        gradients: (S, P), of S objectives.
        rng: draws the orders.

    Returns:
        (P,).
    """
    products = gradients @ gradients.T
    return weights_without_conflicts(products, rng).to(gradients, non_blocking=True) @ gradients


def weights_without_conflicts(products: Tensor, rng: np.random.Generator) -> Tensor:
    """Return w (S,) with which `without_conflicts` is sum_i w_i g_i, on the CPU, from what it needs to know of them.

    Args:
        products: (S, S), g_i . g_j. A GPU is waited for here, once, and not for each of the comparisons. Where they
            are not all finite, the weights are those of the plain mean, which then is not finite either.
        rng: draws the orders.
    """
    known = products.cpu().double().numpy()
    if not np.isfinite(known).all():
        return torch.full((len(known),), 1 / len(known), dtype=torch.float64)
    lengths = known.diagonal()
    # Row i holds which of the h_j make up g_i: g_i = sum_j coefficients_ij h_j.
    coefficients = np.eye(len(products))
    for i in range(len(products)):
        for j in rng.permutation(len(products)):
            if i == j or lengths[j] == 0:
                continue
            conflict = coefficients[i] @ known[:, j]
            if conflict < 0:
                coefficients[i, j] -= conflict / lengths[j]
    return torch.from_numpy(coefficients.mean(0))


def flatten(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """Return the gradients as one vector, zeros where there is none."""
    parts = [
        at_least_float32(torch.zeros_like(tensor) if gradient is None else gradient)
        for gradient, tensor in zip(gradients, like, strict=True)
    ]
    return torch.cat([part.flatten() for part in parts])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return a vector in parts of the tensors' shapes."""
    parts = vector.split([tensor.numel() for tensor in like])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
