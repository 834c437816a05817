"""Divergences between two posteriors, or a posterior and a label, at every voxel; `divergence` selects one by name.

Every function takes log-probabilities with the classes along ``dim`` and returns the shape without ``dim``. ``D(p:q)``
has the textbook order of its arguments; ``posterior_divergence`` decides whether the student is ``p`` or ``q``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from nnunet_missingmod.choices import DIVERGENCES
from nnunet_missingmod.losses.reduction import at_least_float32

# The value of 1 + chi^2 above which Neyman's chi^2 is linear in the logarithm of that value. Without it q^2 / p has no
# bound (exp(160) for logits of +-80, more than float32 holds), and float16 logits cannot hold a gradient above 65504.
NEYMAN_LINEAR_FROM = 1e4


def conjugate_exponent(alpha: float) -> float:
    """Return ``beta = alpha / (alpha - 1)``, for which ``1 / alpha + 1 / beta = 1``; negative if ``alpha`` is below 1.

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
    (Cauchy-Schwarz) or ``q`` is uniform. At ``alpha = 1.1`` its minimum over ``p`` is proportional to ``q^10``, so use
    it for labels, and `holder_divergence` for a teacher's soft posteriors. ``D_alpha(p:q) = D_beta(q:p)``.

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
    divergence. As ``alpha`` approaches 1, the value shrinks like ``1/beta``: raise the term's weight accordingly.

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


def kullback_leibler(log_p: Tensor, log_q: Tensor, *, dim: int = 1) -> Tensor:
    """Kullback-Leibler divergence ``KL(p:q) = sum p log(p / q)``, in nats."""
    return (log_p.exp() * (log_p - log_q)).sum(dim)


def kullback_leibler_to_label(log_p: Tensor, label: Tensor, *, dim: int = 1) -> Tensor:
    """``KL(y:p) = -log p_y``, the cross-entropy; the other order, ``KL(p:y)``, is infinite."""
    return -log_probability_of_label(log_p, label, dim=dim)


def total_variation(log_p: Tensor, log_q: Tensor, *, dim: int = 1) -> Tensor:
    """Total variation ``(1/2) sum |p - q|``, between 0 and 1."""
    return (log_p.exp() - log_q.exp()).abs().sum(dim) / 2


def total_variation_to_label(log_p: Tensor, label: Tensor, *, dim: int = 1) -> Tensor:
    """Total variation to a one-hot label: ``1 - p_y``."""
    return -torch.expm1(log_probability_of_label(log_p, label, dim=dim))


def squared_hellinger(log_p: Tensor, log_q: Tensor, *, dim: int = 1) -> Tensor:
    """Squared Hellinger distance ``(1/2) sum (sqrt p - sqrt q)^2``, between 0 and 1."""
    return ((log_p / 2).exp() - (log_q / 2).exp()).square().sum(dim) / 2


def squared_hellinger_to_label(log_p: Tensor, label: Tensor, *, dim: int = 1) -> Tensor:
    """Squared Hellinger distance to a one-hot label: ``1 - sqrt p_y``."""
    return -torch.expm1(log_probability_of_label(log_p, label, dim=dim) / 2)


def neyman_chi_squared(log_p: Tensor, log_q: Tensor, *, dim: int = 1) -> Tensor:
    """Neyman's chi^2 ``sum (p - q)^2 / p = sum q^2 / p - 1``.

    It is exact while ``sum q^2 / p`` is below ``NEYMAN_LINEAR_FROM``. Above, it is linear in ``log sum q^2 / p`` and
    continues with the same slope.
    """
    return _expm1_with_linear_tail(torch.logsumexp(2 * log_q - log_p, dim))


def neyman_chi_squared_to_label(log_p: Tensor, label: Tensor, *, dim: int = 1) -> Tensor:
    """Neyman's chi^2 to a one-hot label, ``1 / p_y - 1``; linear for large values as in `neyman_chi_squared`."""
    return _expm1_with_linear_tail(-log_probability_of_label(log_p, label, dim=dim))


def jensen_shannon(log_p: Tensor, log_q: Tensor, *, dim: int = 1) -> Tensor:
    """Jensen-Shannon divergence ``(KL(p:m) + KL(q:m)) / 2`` with ``m = (p + q) / 2``: nats, between 0 and log 2."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return (kullback_leibler(log_p, log_m, dim=dim) + kullback_leibler(log_q, log_m, dim=dim)) / 2


def jensen_shannon_to_label(log_p: Tensor, label: Tensor, *, dim: int = 1) -> Tensor:
    """Jensen-Shannon divergence to a one-hot label: ``log 2 + (p_y log p_y - (1 + p_y) log(1 + p_y)) / 2``."""
    log_p_y = log_probability_of_label(log_p, label, dim=dim)
    p_y = log_p_y.exp()
    return math.log(2) + (p_y * log_p_y - (1 + p_y) * torch.log1p(p_y)) / 2


class _Forms(NamedTuple):
    between: Callable[..., Tensor]
    to_label: Callable[..., Tensor]


_FORMS: Mapping[str, _Forms] = {
    "holder_pseudo": _Forms(holder_pseudo_divergence, holder_pseudo_divergence_to_label),
    "holder_proper": _Forms(holder_divergence, holder_divergence_to_label),
    "kullback_leibler": _Forms(kullback_leibler, kullback_leibler_to_label),
    "total_variation": _Forms(total_variation, total_variation_to_label),
    "squared_hellinger": _Forms(squared_hellinger, squared_hellinger_to_label),
    "neyman_chi_squared": _Forms(neyman_chi_squared, neyman_chi_squared_to_label),
    "jensen_shannon": _Forms(jensen_shannon, jensen_shannon_to_label),
}


def divergence(name: str, log_p: Tensor, log_q: Tensor, *, dim: int = 1, **parameters: float) -> Tensor:
    """Return the divergence ``D(p:q)`` called ``name`` at every voxel, non-negative up to rounding.

    Args:
        name: one of ``choices.DIVERGENCES``.
        log_p, log_q: finite log-probabilities of one shape, classes along ``dim``; half precision is widened.
        parameters: ``alpha`` for ``holder_pseudo``; ``alpha`` and ``gamma`` for ``holder_proper``; none for the others.

    Returns:
        The shape of ``log_p`` without ``dim``, float32 or wider.

    Raises:
        ValueError: the name or a parameter is unknown, a parameter's value is out of range, or the shapes differ.
    """
    forms = _look_up(name, parameters)
    if log_p.shape != log_q.shape:
        raise ValueError(f"p and q must have one shape, got {tuple(log_p.shape)} and {tuple(log_q.shape)}.")
    return forms.between(at_least_float32(log_p), at_least_float32(log_q), dim=dim, **parameters)


def divergence_to_label(name: str, log_p: Tensor, label: Tensor, *, dim: int = 1, **parameters: float) -> Tensor:
    """Return the divergence called ``name`` between ``p`` and the one-hot posterior of a label, in closed form.

    It is ``D(p:y)``, except for ``kullback_leibler``, where it is ``KL(y:p)``.

    Args:
        name, log_p, dim, parameters: as for `divergence`.
        label: class index at every voxel, int64, the shape of ``log_p`` without ``dim``.

    Raises:
        ValueError: the name or a parameter is unknown, a parameter's value is out of range, or the shapes do not fit.
    """
    forms = _look_up(name, parameters)
    expected = log_p.movedim(dim, 0).shape[1:]
    if label.shape != expected:
        raise ValueError(f"Labels must have shape {tuple(expected)}, got {tuple(label.shape)}.")
    return forms.to_label(at_least_float32(log_p), label, dim=dim, **parameters)


def _look_up(name: str, parameters: Mapping[str, float]) -> _Forms:
    if name not in DIVERGENCES:
        raise ValueError(f"There is no divergence called {name!r}; choose one of {', '.join(DIVERGENCES)}.")
    unknown = sorted(set(parameters) - set(DIVERGENCES[name]))
    if unknown:
        raise ValueError(f"Divergence {name!r} takes the parameters {list(DIVERGENCES[name])}, got {unknown}.")
    return _FORMS[name]


def _expm1_with_linear_tail(log_ratio: Tensor) -> Tensor:
    knee = math.log(NEYMAN_LINEAR_FROM)
    return torch.expm1(log_ratio.clamp(max=knee)) + NEYMAN_LINEAR_FROM * torch.relu(log_ratio - knee)
