"""Named loss terms to one scalar: the last step of a training loss, where every term meets its weight once."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return ``sum over names of weights[name] * terms[name]``, a scalar.

    A term of weight 0 stays in the graph: its parameters must take part in every step of distributed training.

    Raises:
        ValueError: there is no term, a name occurs on one side only, or a term is not a scalar.
    """
    if not terms:
        raise ValueError("A weighted sum needs at least one term, got none.")
    if set(terms) != set(weights):
        without_weight, without_term = sorted(set(terms) - set(weights)), sorted(set(weights) - set(terms))
        raise ValueError(
            f"Terms and weights must have the same names: no weight for {without_weight}, no term for {without_term}."
        )
    for name, term in terms.items():
        if term.dim() != 0:
            raise ValueError(f"Term {name!r} must be a scalar, got shape {tuple(term.shape)}: reduce it first.")
    first, *others = (weights[name] * term for name, term in terms.items())
    return sum(others, start=first)


def warmup_weight(weight: float, step: int, warmup_steps: int) -> float:
    """Return ``weight * min(1, step / warmup_steps)``: 0 at step 0, linear, ``weight`` from ``warmup_steps`` on.

    ``step`` counts whatever the caller counts, iterations or epochs; with ``warmup_steps`` 0 there is no warm-up.

    Raises:
        ValueError: ``step`` or ``warmup_steps`` is negative.
    """
    if step < 0 or warmup_steps < 0:
        raise ValueError(f"Steps are counted from 0, got step {step} and warmup_steps {warmup_steps}.")
    return weight if step >= warmup_steps else weight * step / warmup_steps
