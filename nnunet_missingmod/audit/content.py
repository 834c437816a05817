"""Nothing that an absent modality holds changes the output, and none of it gets a gradient.

``content`` and ``gradient`` of an audit. They run one subset at a time, so that a fault of the batch is not theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch

from nnunet_missingmod.audit.finding import EVALUATION, FAIL, NOT_APPLICABLE, NOTE, PASS, TRAINING, Finding, Result
from nnunet_missingmod.audit.outputs import all_finite, largest_difference, projection, tensors_of
from nnunet_missingmod.audit.probe import NAN, ZERO, Probe, seed_everything
from nnunet_missingmod.errors import listed
from nnunet_missingmod.modalities import Subset

_CHANGE = "largest change / largest value of the output"
_OF_GRADIENT = "largest gradient at absent / at present modalities"
_DEAD = "pairs of a subset and a modality in it that gets no gradient"
# Further cases and seeds in which a present modality may get its gradient: a network may choose among modalities, and
# in training drop some at random.
_FURTHER = 8
_LOUDER = 100.0


def content_check(probe: Probe, *, training: bool = False) -> Finding:
    """Compare outputs for the same present images and different contents of the absent channels.

    For every subset that lacks a modality: the output with noise, huge values and, where the network promises to bear
    them, NaN and infinity in the absent channels equals, bit for bit on a CPU, the output with the reference (see
    ``Probe.filled``). By the convention ``"zero"`` it is a note on what would change if the zeros were not filled in.
    """
    mode = TRAINING if training else EVALUATION

    def found(result: Result, number: float | None, meaning: str) -> Finding:
        return Finding("content", mode, result, number, _CHANGE, meaning)

    if not probe.incomplete:
        return found(NOT_APPLICABLE, None, "No subset lacks a modality.")
    most, where = 0.0, ""
    for subset in probe.incomplete:
        # In training some networks need more than one sample; all have the same subset.
        present = probe.present([subset] * (2 if training else 1))
        images = probe.images(len(present))
        expected = probe.run(probe.filled(images, present, "reference"), present, training=training)
        if not all_finite(expected):
            mend = ""
            if probe.convention == NAN:
                mend = (
                    ": the network does not know NaN as the mark of absence. Replace such channels in the first line "
                    "of forward, or say with absent how the network is told"
                )
            return found(FAIL, None, f"The output is not finite where only {probe.name(subset)} is there{mend}.")
        for content in probe.contents():
            got = probe.run(probe.filled(images, present, content), present, training=training)
            change = largest_difference(expected, got)
            if change > most:
                most, where = change, f"{content} in what {probe.name(subset)} lacks"
    if probe.convention == ZERO:
        return found(
            NOTE,
            most,
            "The network knows nothing of absence: zeros that are filled in after normalisation stand for it, and "
            "noise in their place would change the output by so much. Fill them in wherever it is used.",
        )
    if most > probe.tolerance:
        return found(
            FAIL,
            most,
            f"What an absent modality holds changes the output, most with {where}: replace absent channels before "
            "anything is computed of them (statistics and attention too), with torch.where and not by a product.",
        )
    return found(PASS, most, f"Whatever absent modalities hold, the output is the same {probe.bits()}.")


def gradient_check(probe: Probe, *, training: bool = False) -> Finding:
    """Compare the gradients of a random projection of the output with respect to absent and to present channels.

    For every subset an absent channel gets exactly zero, and each present one gets something.
    """
    mode = TRAINING if training else EVALUATION

    def found(result: Result, number: float | None, meaning: str, unit: str = _OF_GRADIENT) -> Finding:
        return Finding("gradient", mode, result, number, unit, meaning)

    most, where = 0.0, ""
    dead: list[str] = []
    for subset in probe.subsets:
        gradient = _gradient(probe, subset, training=training)
        if gradient is None:
            return found(
                NOT_APPLICABLE,
                None,
                "The output has no gradient with respect to the images: it is computed without a graph, or is labels.",
            )
        if not bool(gradient.isfinite().all()):
            return found(
                FAIL,
                None,
                f"The gradient is not finite with {probe.name(subset)}: replace absent channels by torch.where, "
                "before anything is computed of them.",
            )
        size = gradient.abs().flatten(1).amax(1)
        absent = [channel for channel in range(probe.num_modalities) if channel not in subset]
        at_present = float(size[list(subset)].max())
        at_absent = float(size[absent].max()) if absent else 0.0
        if at_absent > 0:
            share = at_absent / at_present if at_present > 0 else float("inf")
            if share > most:
                most, where = share, probe.name(subset)
        silent = [channel for channel in subset if size[channel] == 0]
        if silent:
            silent = _still_silent(probe, subset, silent, training=training)
        dead += [f"{probe.names[channel]} in {probe.name(subset)}" for channel in silent]
    if most > 0 and probe.convention != ZERO:
        return found(
            FAIL,
            most,
            f"Absent modalities get gradient, most with {where}: the output is a function of what they hold. Replace "
            "absent channels by torch.where before anything is computed of them.",
        )
    if dead:
        return found(
            FAIL,
            float(len(dead)),
            f"A present modality gets no gradient: {listed(dead, most=3, rest='{} more')}. Its branch is dead: look "
            "for a detach, a mask that is turned round, or weights that are zero.",
            unit=_DEAD,
        )
    if probe.convention == ZERO and probe.incomplete:
        return found(
            NOTE,
            most,
            "The network does not know which channels are absent, so that the zeros in them get gradient like images; "
            "every present modality gets some.",
        )
    return found(PASS, most, "Absent modalities get exactly no gradient, and every present one gets some.")


def _gradient(
    probe: Probe,
    subset: Subset,
    *,
    training: bool,
    case: int = 0,
    scaled: Mapping[int, float] = MappingProxyType({}),
) -> torch.Tensor | None:
    """Return (J, *spatial), summed over the samples; None if the output does not depend on the images by a graph.

    Another ``case`` has other images and another seed; ``scaled`` multiplies the images of some channels.
    """
    present = probe.present([subset] * (2 if training else 1))
    content = "reference" if probe.convention == ZERO else "noise"
    images = probe.images(len(present), case=case)
    for channel, factor in scaled.items():
        images[:, channel] *= factor
    images = probe.filled(images, present, content)  # type: ignore[arg-type]
    images.requires_grad_()
    with torch.enable_grad(), probe.in_mode(training=training), probe.buffers_restored():
        seed_everything(probe.seed + case)
        loss = projection(tensors_of(probe.fed(images, present)))
        if loss is None:
            return None
        (gradient,) = torch.autograd.grad(loss, images, allow_unused=True)
    if gradient is None:
        return None
    return gradient[:, : probe.num_modalities].abs().sum(0)


def _still_silent(probe: Probe, subset: Subset, silent: Sequence[int], *, training: bool) -> list[int]:
    """Return the channels that get no gradient in other cases either, whose own images are much larger or smaller."""
    left = []
    for channel in silent:
        for case in range(1, _FURTHER):
            factor = (1.0, _LOUDER, 1 / _LOUDER)[case % 3]
            gradient = _gradient(probe, subset, training=training, case=case, scaled={channel: factor})
            if gradient is not None and bool((gradient[channel] != 0).any()):
                break
        else:
            left.append(channel)
    return left
