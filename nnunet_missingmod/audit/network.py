"""``audit``: every check on a network, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from nnunet_missingmod.audit.batch import batch_check
from nnunet_missingmod.audit.cases import none_check, state_check, zero_check
from nnunet_missingmod.audit.constant import constant_check
from nnunet_missingmod.audit.content import content_check, gradient_check
from nnunet_missingmod.audit.finding import EVALUATION, FAIL, NOT_APPLICABLE, TRAINING, Audit, Finding
from nnunet_missingmod.audit.order import order_check
from nnunet_missingmod.audit.probe import NAN, ZERO, Feed, NamedFeed, Probe

CONVENTIONS = {
    NAN: "An absent modality is a channel with NaN, which the network recognises and replaces.",
    ZERO: "The network knows nothing of absence: zeros stand in place of an absent modality, by convention.",
    "function": "The network is told what is absent by a function of images and present.",
}


def audit(
    network: nn.Module,
    *,
    num_modalities: int,
    input_shape: Sequence[int],
    absent: str | Feed | None = None,
    named: NamedFeed | None = None,
    extra_channels: int = 0,
    nonfinite: bool | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Audit:
    """Check whether a network leaks what is absent, and return a finding per check (see ``finding.CHECKS``).

    The network may be of two or three dimensions and return a tensor, or a list (deep supervision), a tuple or a dict
    of tensors. It is afterwards as it was. In double precision (``network.double()``) rounding hides less.

    Args:
        network, num_modalities, input_shape, absent, named, extra_channels, nonfinite, names, seed: see
            ``probe.Probe``. ``absent`` is ``"nan"``, ``"zero"`` or a function, as
            ``lambda images, present: network(images * present[..., None, None], mask=present)``: put into it what your
            code does between loading a case and the network, no more.

    Raises:
        ValueError: an argument is out of its range, or the network cannot be run on a complete case.
    """
    probe = Probe(
        network,
        num_modalities=num_modalities,
        input_shape=input_shape,
        absent=absent,
        named=named,
        extra_channels=extra_channels,
        nonfinite=nonfinite,
        names=names,
        seed=seed,
    )
    return Audit(type(network).__name__, CONVENTIONS[probe.convention], tuple(audit_probe(probe)))


def audit_probe(probe: Probe) -> list[Finding]:
    """Return the findings of every check on a network, in the order of ``finding.CHECKS``.

    Raises:
        ValueError: the network cannot be run on a complete case.
    """
    with probe.undisturbed():
        _run_once(probe)
        return [
            _attempt("content", EVALUATION, lambda: content_check(probe)),
            _attempt("content", TRAINING, lambda: content_check(probe, training=True)),
            _attempt("gradient", EVALUATION, lambda: gradient_check(probe)),
            _attempt("gradient", TRAINING, lambda: gradient_check(probe, training=True)),
            _attempt("constant", EVALUATION, lambda: constant_check(probe)),
            _attempt("batch", EVALUATION, lambda: batch_check(probe)),
            _attempt("batch", TRAINING, lambda: batch_check(probe, training=True)),
            _attempt("state", EVALUATION, lambda: state_check(probe)),
            _attempt("none", EVALUATION, lambda: none_check(probe)),
            _attempt("zero", EVALUATION, lambda: zero_check(probe)),
            _attempt("order", EVALUATION, lambda: order_check(probe)),
        ]


def _run_once(probe: Probe) -> None:
    present = probe.present([probe.uses])
    images = probe.filled(probe.images(1), present, "reference")
    try:
        probe.run(images, present)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ValueError(
            f"{type(probe.network).__name__} cannot be run on a complete case of shape {tuple(images.shape)} "
            f"({type(error).__name__}: {error}). Check num_modalities, input_shape and absent."
        ) from error


def _attempt(name: str, mode: str, check: Callable[[], Finding]) -> Finding:
    """Return what a check finds; where the network stops, a fault in evaluation, and in training no finding."""
    try:
        return check()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if mode == TRAINING:
            return Finding(name, mode, NOT_APPLICABLE, None, "", f"In training the network cannot be run so ({said}).")
        return Finding(name, mode, FAIL, None, "", f"The network stops with an error ({said}).")
