"""The order in which named modalities are handed over changes nothing.

``order`` of an audit, for networks that take a list or a dict of the present modalities.
"""

from __future__ import annotations

import random

import torch

from nnunet_missingmod.audit.finding import EVALUATION, FAIL, NOT_APPLICABLE, PASS, Finding, Result
from nnunet_missingmod.audit.outputs import largest_difference, tensors_of
from nnunet_missingmod.audit.probe import Probe, seed_everything

_SHUFFLES = 2


def order_check(probe: Probe) -> Finding:
    """Compare the outputs for the same named modalities in the channels' order, reversed, and shuffled.

    Sums over modalities round differently in another order: a difference of rounding (``Probe.rounding``) is none.
    """

    def found(result: Result, number: float | None, meaning: str) -> Finding:
        unit = "largest change / largest value of the output"
        return Finding("order", EVALUATION, result, number, unit, meaning)

    several = [subset for subset in probe.subsets if len(subset) > 1]
    if probe.named is None or not several:
        why = "The network takes channels by their position" if several else "There is one modality alone"
        return found(NOT_APPLICABLE, None, f"{why}: there is no order in which they could be handed over.")
    rng = random.Random(probe.seed)
    most, where = 0.0, ""
    images = probe.images(1)
    for subset in several:
        orders = [list(reversed(subset)), *(rng.sample(subset, len(subset)) for _ in range(_SHUFFLES))]
        expected = _run(probe, images, list(subset))
        for order in orders:
            change = largest_difference(expected, _run(probe, images, order))
            if change > most:
                most, where = change, "+".join(probe.names[channel] for channel in order)
    if most > probe.rounding:
        return found(
            FAIL,
            most,
            f"The output depends on the order of the modalities, most for {where}: the network goes by position in the "
            "list, not by name. Look the modality's parameters up by its name.",
        )
    return found(PASS, most, "The order in which modalities are handed over changes nothing.")


def _run(probe: Probe, images: torch.Tensor, order: list[int]) -> list[torch.Tensor]:
    assert probe.named is not None
    given = {channel: images[:, channel : channel + 1] for channel in order}
    with torch.no_grad(), probe.in_mode(training=False), probe.buffers_restored():
        seed_everything(probe.seed)
        return [tensor.detach().clone() for tensor in tensors_of(probe.named(given))]
