"""Hölder divergences between posteriors: the pseudo-divergence for labels, the proper one for a soft teacher.

Nielsen, Sun & Marchand-Maillet, "On Hölder projective divergences", Entropy 2017. All in log space, by log-sum-exp: a
posterior to the power of 11 (the conjugate exponent of 1.1) underflows. Projective: ``p`` and ``q`` need not be
normalised, adding a constant to ``log_p`` or ``log_q`` along the class axis changes nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def conjugate_exponent(alpha: float) -> float:
    """Return ``beta = alpha / (alpha - 1)``, so that ``1 / alpha + 1 / beta = 1``; negative for ``alpha`` below 1.

    Raises:
        ValueError: ``alpha`` is 0, 1, negative or not finite.
    """
    if not (math.isfinite(alpha) and alpha > 0 and alpha != 1):
        raise ValueError(f"alpha of a Hölder divergence is above 1, or between 0 and 1, got {alpha}: try 1.1 or 2.")
    return alpha / (alpha - 1)


def holder_pseudo_divergence(log_p: Tensor, log_q: Tensor, *, alpha: float = 1.1, dim: int = 1) -> Tensor:
    """Hölder pseudo-divergence, for ``alpha > 1``

    ``D(p:q) = -log[ sum p q / ((sum p^alpha)^(1/alpha) (sum q^beta)^(1/beta)) ] >= 0``.

    For ``0 < alpha < 1`` Hölder's inequality is reversed and so is the sign: ``D = +log[...]``. ``D`` is zero if and
    only if ``p`` is proportional to ``q^(1/(alpha-1))``. It is improper: ``D(q:q) > 0`` unless ``alpha = 2``
    (Cauchy-Schwarz) or ``q`` is uniform; at ``alpha = 1.1`` it pulls ``p`` to ``q^10``. Use it for labels, and
    `holder_divergence` for a soft teacher. ``D_alpha(p:q) = D_beta(q:p)``.

    Args:
        log_p, log_q: finite log-probabilities of one shape, classes along ``dim``.
        alpha: exponent; the default is the best value of Cheng et al., "Robust Divergence Learning".

    Returns:
        The divergence in nats at every voxel: the shape of ``log_p`` without ``dim``.

    Raises:
        ValueError: ``alpha`` is 0, 1 or negative.

    Source: Nielsen et al. 2017, definition 1.
    """
    beta = conjugate_exponent(alpha)
    log_norm_p = torch.logsumexp(alpha * log_p, dim) / alpha
    log_norm_q = torch.logsumexp(beta * log_q, dim) / beta
    gap = log_norm_p + log_norm_q - torch.logsumexp(log_p + log_q, dim)
    return gap if alpha > 1 else -gap


def holder_divergence(log_p: Tensor, log_q: Tensor, *, alpha: float = 2.0, gamma: float = 2.0, dim: int = 1) -> Tensor:
    """Proper Hölder divergence, for ``alpha > 1`` and ``gamma > 0``

    ``D(p:q) = -log[ sum p^(gamma/alpha) q^(gamma/beta) / ((sum p^gamma)^(1/alpha) (sum q^gamma)^(1/beta)) ] >= 0``.

    For ``0 < alpha < 1`` the sign is reversed. ``D`` is zero if and only if ``p`` is proportional to ``q``.
    ``alpha = gamma = 2``, the default, is the Cauchy-Schwarz divergence, ``gamma = 1`` the skew Bhattacharyya
    divergence. As ``alpha`` approaches 1 the value shrinks like ``1/beta``: weigh the term accordingly.

    Args:
        log_p, log_q: finite log-probabilities of one shape, classes along ``dim``.

    Returns:
        The divergence in nats at every voxel: the shape of ``log_p`` without ``dim``.

    Raises:
        ValueError: ``alpha`` is 0, 1 or negative, or ``gamma`` is not positive.

    Source: Nielsen et al. 2017, definition 2.
    """
    beta = conjugate_exponent(alpha)
    _check_gamma(gamma)
    log_norm_p = torch.logsumexp(gamma * log_p, dim) / alpha
    log_norm_q = torch.logsumexp(gamma * log_q, dim) / beta
    log_product = torch.add((gamma / alpha) * log_p, log_q, alpha=gamma / beta)
    gap = log_norm_p + log_norm_q - torch.logsumexp(log_product, dim)
    return gap if alpha > 1 else -gap


def holder_pseudo_divergence_to_label(log_p: Tensor, label: Tensor, *, alpha: float = 1.1, dim: int = 1) -> Tensor:
    """Hölder pseudo-divergence to a one-hot label ``y``: ``D = -log p_y + (1/alpha) log sum_c p_c^alpha``.

    Zero if and only if ``p`` is the label.

    Args:
        log_p: finite log-probabilities, classes along ``dim``.
        label: class index at every voxel, int64, the shape of ``log_p`` without ``dim``.
        alpha: exponent above 1.

    Raises:
        ValueError: ``alpha`` is not above 1; the divergence to a one-hot label is infinite below 1.
    """
    _check_label_alpha(alpha)
    return torch.logsumexp(alpha * log_p, dim) / alpha - log_probability_of_label(log_p, label, dim=dim)


def holder_divergence_to_label(
    log_p: Tensor, label: Tensor, *, alpha: float = 2.0, gamma: float = 2.0, dim: int = 1
) -> Tensor:
    """Proper Hölder divergence to a one-hot label ``y``: ``D = (1/alpha) (log sum_c p_c^gamma - gamma log p_y)``.

    Arguments as for `holder_pseudo_divergence_to_label`.

    Raises:
        ValueError: ``alpha`` is not above 1 (the divergence to a one-hot label is infinite), or ``gamma`` is not
            positive.
    """
    _check_label_alpha(alpha)
    _check_gamma(gamma)
    return (torch.logsumexp(gamma * log_p, dim) - gamma * log_probability_of_label(log_p, label, dim=dim)) / alpha


def log_probability_of_label(log_p: Tensor, label: Tensor, *, dim: int = 1) -> Tensor:
    """Return ``log p_y`` at every voxel: the shape of ``log_p`` without ``dim``."""
    return log_p.gather(dim, label.unsqueeze(dim)).squeeze(dim)


def _check_label_alpha(alpha: float) -> None:
    if conjugate_exponent(alpha) < 0:
        raise ValueError(f"A Hölder divergence to a label is infinite for alpha below 1, got {alpha}: try 1.1.")


def _check_gamma(gamma: float) -> None:
    if not (math.isfinite(gamma) and gamma > 0):
        raise ValueError(f"gamma of a proper Hölder divergence is above 0, got {gamma}: try 1 or 2.")
