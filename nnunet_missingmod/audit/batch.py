"""Each sample of a batch follows its own subset, and is what it is alone.

``batch`` of an audit.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from nnunet_missingmod.audit.finding import EVALUATION, FAIL, NOT_APPLICABLE, PASS, TRAINING, Finding, Result
from nnunet_missingmod.audit.outputs import largest_difference
from nnunet_missingmod.audit.probe import Probe
from nnunet_missingmod.modalities import Subset

_UNIT = "largest change / largest value of a sample's output"
_BATCH = 3
_PLACE = 1  # of the sample that is looked at: neither first nor last
_MOST_SUBSETS = 8


def batch_check(probe: Probe, *, training: bool = False) -> Finding:
    """Compare a sample's output beside two samples, beside two others of other subsets, and in evaluation alone.

    Kernels round differently for batches of other sizes, and networks that run present modalities alone make such
    batches: a difference of rounding (``Probe.rounding``) is none.
    """
    mode = TRAINING if training else EVALUATION

    def found(result: Result, number: float | None, meaning: str) -> Finding:
        return Finding("batch", mode, result, number, _UNIT, meaning)

    axes = _batch_axes(probe, training=training)
    if axes is None:
        return found(NOT_APPLICABLE, None, "The number of tensors in the output depends on the number of samples.")
    if not any(axis is not None for axis in axes):
        return found(NOT_APPLICABLE, None, "No tensor of the output has one axis that is as long as the batch.")
    rng = random.Random(probe.seed)
    most = alone_most = 0.0
    where = ""
    for subset in _chosen(probe.subsets, rng):
        others = [_others(probe.subsets, subset, rng) for _ in range(2)]
        beside = [_of_sample(probe, subset, other, case, axes, training=training) for case, other in enumerate(others)]
        change = largest_difference(*beside)
        if change > most:
            most = change
            where = f"{probe.name(subset)} beside {probe.name(others[0][0])} or {probe.name(others[1][0])}"
        if not training:
            images = _sample(probe, subset)
            alone = _samples(probe.run(images, probe.present([subset])), axes, 0)
            alone_most = max(alone_most, largest_difference(alone, beside[0]))
    if most > probe.rounding and training and _draws(probe):
        return found(NOT_APPLICABLE, None, "In training the network draws random numbers, so that it cannot be told.")
    if most > probe.rounding:
        usual = "batch normalisation: use instance or group normalisation" if training else "batch statistics"
        return found(
            FAIL,
            most,
            f"A sample's output changes with the other samples of its batch, most for {where}. The causes are one mask "
            f"for the whole batch (have one per sample, (B, J)), or {usual}.",
        )
    if alone_most > probe.rounding:
        return found(
            FAIL,
            alone_most,
            "A sample's output is another one alone than in a batch: look for what is summed or averaged over the "
            "batch's axis, or for a mask that is read from one place in the batch.",
        )
    most = max(most, alone_most)
    rounded = f", apart from rounding below {probe.rounding:g}" if most else ""
    return found(PASS, most, f"A sample's output does not depend on the rest of its batch{rounded}.")


def _chosen(subsets: Sequence[Subset], rng: random.Random) -> list[Subset]:
    """Return the subsets of the sample that is looked at: few, the smallest and the largest among them."""
    if len(subsets) <= _MOST_SUBSETS:
        return list(subsets)
    return [subsets[0], *rng.sample(list(subsets[1:-1]), _MOST_SUBSETS - 2), subsets[-1]]


def _others(subsets: Sequence[Subset], subset: Subset, rng: random.Random) -> list[Subset]:
    """Return the subsets of the other samples: not that of the sample that is looked at, if there is another."""
    rest = [other for other in subsets if other != subset] or [subset]
    return [rng.choice(rest) for _ in range(_BATCH - 1)]


def _sample(probe: Probe, subset: Subset) -> torch.Tensor:
    present = probe.present([subset])
    return probe.filled(probe.images(1), present, "reference")


def _batch_axes(probe: Probe, *, training: bool) -> list[int | None] | None:
    """Return each output tensor's axis of samples, None for one that has none or several: see `batch_axis`.

    None if there are not as many tensors for another number of samples.
    """
    outputs = []
    for batch in (_BATCH, _BATCH - 1):
        present = probe.present([probe.subsets[-1]] * batch)
        outputs.append(probe.run(probe.filled(probe.images(batch), present, "reference"), present, training=training))
    if len(outputs[0]) != len(outputs[1]):
        return None
    return [
        batch_axis(one.shape, _BATCH, other.shape, _BATCH - 1)
        for one, other in zip(outputs[0], outputs[1], strict=True)
    ]


def batch_axis(one: Sequence[int], batch_of_one: int, other: Sequence[int], batch_of_other: int) -> int | None:
    """Return the axis that is as long as the batch in both of two shapes, for two batches; None unless there is one.

    A matrix of samples by samples has two: what it holds is of no sample alone.
    """
    if len(one) != len(other):
        return None
    axes = [axis for axis, sizes in enumerate(zip(one, other, strict=True)) if sizes == (batch_of_one, batch_of_other)]
    return axes[0] if len(axes) == 1 else None


def _of_sample(
    probe: Probe,
    subset: Subset,
    others: Sequence[Subset],
    case: int,
    axes: Sequence[int | None],
    *,
    training: bool,
) -> list[torch.Tensor]:
    """Return the output's tensors of the sample that is looked at, between other samples of a case."""
    present = probe.present([others[0], subset, *others[1:]])
    images = probe.filled(probe.images(_BATCH, case=10 + case), present, "reference")
    images[_PLACE] = _sample(probe, subset)[0]
    return _samples(probe.run(images, present, training=training), axes, _PLACE)


def _samples(output: Sequence[torch.Tensor], axes: Sequence[int | None], place: int) -> list[torch.Tensor]:
    return [tensor.select(axis, place) for tensor, axis in zip(output, axes, strict=True) if axis is not None]


def _draws(probe: Probe) -> bool:
    """Return whether in training the output depends on the seed."""
    present = probe.present([probe.uses] * 2)
    images = probe.filled(probe.images(2), present, "reference")
    outputs = [probe.run(images, present, training=True, seed=probe.seed + more) for more in range(2)]
    return largest_difference(*outputs) > probe.tolerance
