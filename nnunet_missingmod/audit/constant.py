"""No layer that runs on the filling of an absent modality reaches the output.

``constant`` of an audit. Zeros in place of an absent modality become biases after the first layer of its own encoder,
and an average or an attention over all modalities takes them in: a constant that no image made, with the weight of an
image. Where one layer reads all modalities at once they cannot be told apart, and the check does not apply.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from nnunet_missingmod.audit.finding import EVALUATION, FAIL, NOT_APPLICABLE, NOTE, PASS, Finding, Result
from nnunet_missingmod.audit.outputs import projection, tensors_of
from nnunet_missingmod.audit.probe import ZERO, Probe, seed_everything
from nnunet_missingmod.errors import listed
from nnunet_missingmod.modalities import Subset

# A layer by its name, and the how manieth of its calls in a forward pass.
Call = tuple[str, int]

_UNIT = "layers of an absent modality that reach the output"


def constant_check(probe: Probe) -> Finding:
    """Look for calls of layers that see one modality alone, and reach the output although that modality is absent.

    A call of a layer belongs to modality j if, with all modalities there, its input changes with image j and with no
    other. It runs on a filling if, with j absent, its input changes with no image; and it reaches the output if there
    is a place in which neither what it returns nor the gradient is zero. A layer that runs another number of times
    without the modality does not run on a filling.
    """

    def found(result: Result, number: float | None, meaning: str) -> Finding:
        return Finding("constant", EVALUATION, result, number, _UNIT, meaning)

    owners, number_of_calls = _owners(probe)
    if not owners or not probe.incomplete:
        return found(
            NOT_APPLICABLE, None, "No layer sees one modality alone: all are in one tensor from the first layer on."
        )
    reaching: dict[str, None] = {}
    for subset in probe.incomplete:
        for name in _reaching(probe, subset, owners, number_of_calls):
            reaching.setdefault(name)
    if not reaching:
        return found(PASS, 0.0, "What the layers of an absent modality make of its filling does not reach the output.")
    layers = listed(list(reaching), most=3, rest="{} more")
    if probe.convention == ZERO:
        return found(
            NOTE,
            float(len(reaching)),
            f"The layers {layers} run on the zeros of an absent modality, and the constants that they make of them "
            "take part in the output.",
        )
    return found(
        FAIL,
        float(len(reaching)),
        f"The layers {layers} run on the filling of an absent modality, and the constants that they make of it (their "
        "biases) reach the output. Leave absent modalities out of the fusion: weight its mean by present, or mask "
        "the attention's keys.",
    )


def _owners(probe: Probe) -> tuple[dict[Call, int], dict[str, int]]:
    """Return {call: the modality that alone it depends on}, and {layer: number of its calls}, with all modalities."""
    present = probe.present([probe.uses])
    images = probe.filled(probe.images(1), present, "reference")
    other = probe.images(1, case=1)
    plain, _ = _inputs(probe, images, present)
    depends: defaultdict[Call, set[int]] = defaultdict(set)
    for channel in probe.uses:
        changed = images.clone()
        changed[:, channel] = other[:, channel]
        seen, _ = _inputs(probe, changed, present)
        if seen.keys() != plain.keys():  # what runs depends on the images: nothing can be said
            return {}, {}
        for call, value in seen.items():
            if value != plain[call]:
                depends[call].add(channel)
    number_of_calls: defaultdict[str, int] = defaultdict(int)
    for name, _ in plain:
        number_of_calls[name] += 1
    return {call: next(iter(on)) for call, on in depends.items() if len(on) == 1}, dict(number_of_calls)


def _reaching(probe: Probe, subset: Subset, owners: dict[Call, int], number_of_calls: dict[str, int]) -> Iterator[str]:
    """Yield the layers of modalities outside of the subset that reach the output."""
    present = probe.present([subset])
    given = probe.filled(probe.images(1), present, "reference")
    inputs, outputs = _inputs(probe, given, present, with_graph=True)
    of_others, _ = _inputs(probe, probe.filled(probe.images(1, case=1), present, "reference"), present)
    made: defaultdict[str, int] = defaultdict(int)
    for name, _ in inputs:
        made[name] += 1
    for (name, index), (value, gradient) in outputs.items():
        owner = owners.get((name, index))
        if owner is None or owner in subset or gradient is None or made[name] != number_of_calls[name]:
            continue
        is_filling = inputs[name, index] == of_others.get((name, index))
        if is_filling and bool(((value != 0) & (gradient != 0)).any()):
            yield f"{name} ({probe.names[owner]})"


def _inputs(
    probe: Probe, images: torch.Tensor, present: torch.Tensor, *, with_graph: bool = False
) -> tuple[dict[Call, Any], dict[Call, tuple[torch.Tensor, torch.Tensor | None]]]:
    """Run the network; return a checksum of each layer call's input, and with a graph its output and gradient.

    A layer is a module that has parameters of its own.
    """
    checksums: dict[Call, Any] = {}
    outputs: dict[Call, torch.Tensor] = {}
    count: defaultdict[str, int] = defaultdict(int)

    def hook_of(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            call = (name, count[name])
            count[name] += 1
            given = [tensor.detach().double() for tensor in inputs if isinstance(tensor, torch.Tensor)]
            checksums[call] = tuple((float(tensor.sum()), float(tensor.square().sum())) for tensor in given)
            if isinstance(output, torch.Tensor) and output.requires_grad:
                outputs[call] = output

        return hook

    with contextlib.ExitStack() as stack:
        for name, module in probe.network.named_modules():
            if next(module.parameters(recurse=False), None) is not None:
                handle = module.register_forward_hook(hook_of(name or type(module).__name__))
                stack.callback(handle.remove)
        stack.enter_context(torch.set_grad_enabled(with_graph))
        stack.enter_context(probe.in_mode(training=False))
        stack.enter_context(probe.buffers_restored())
        seed_everything(probe.seed)
        loss = projection(tensors_of(probe.fed(images, present)))
        if not with_graph:
            return checksums, {}
        if loss is None or not outputs:
            return checksums, {}
        gradients = torch.autograd.grad(loss, list(outputs.values()), allow_unused=True)
    values = {call: output.detach() for call, output in outputs.items()}
    return checksums, {
        call: (value, gradient) for (call, value), gradient in zip(values.items(), gradients, strict=True)
    }
