"""Nothing that layers make of the filling of an absent modality reaches the output.

``constant`` of an audit. Zeros in place of an absent modality become biases after the first layer of its own encoder,
and an average or an attention over all modalities takes them in: a constant that no image made, with the weight of an
image. Where each channel that a layer makes depends on all modalities they cannot be told apart, and the check does not
apply.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nnunet_missingmod.audit.finding import EVALUATION, FAIL, NOT_APPLICABLE, NOTE, PASS, Finding, Result
from nnunet_missingmod.audit.outputs import projection, tensors_in, tensors_of
from nnunet_missingmod.audit.probe import ZERO, Probe, seed_everything
from nnunet_missingmod.errors import listed
from nnunet_missingmod.modalities import Subset

# A layer by its name, the how manieth of its calls in a forward pass, and the how manieth tensor of what it returns.
Call = tuple[str, int, int]

_UNIT = "layers of an absent modality that reach the output"
_NOT_OWNED = -1
_CASES = 2  # in each of which a channel depends on one modality alone: in one case others may be cut off by chance


@dataclass(frozen=True)
class _Complete:
    """What layers do with all modalities there: {call: owners (samples, channels)}, and how often each is called.

    An owner is the modality on which alone the channel of a sample depends, or -1. Calls without any are left out.
    """

    owners: Mapping[Call, torch.Tensor]
    number_of_calls: Mapping[str, int]


def constant_check(probe: Probe) -> Finding:
    """Look for channels of layers that depend on one modality alone, and reach the output although that is absent.

    A channel of what a layer returns (or a sample, where modalities stand along the batch's axis) belongs to modality j
    if, with all modalities there, it changes with image j and with no other. It is made of a filling if, with j absent,
    it changes with no image; and it reaches the output if there is a place in it in which neither its value nor the
    gradient of the output is zero. A layer that is called another number of times without the modality, or returns
    another shape, leaves it out.
    """

    def found(result: Result, number: float | None, meaning: str) -> Finding:
        return Finding("constant", EVALUATION, result, number, _UNIT, meaning)

    if not probe.incomplete:
        return found(NOT_APPLICABLE, None, "No subset lacks a modality.")
    complete = _owners(probe)
    if complete is None:
        return found(NOT_APPLICABLE, None, "Which layers run, or their shapes, depend on what the images hold.")
    if not complete.owners:
        return found(
            NOT_APPLICABLE,
            None,
            "No channel of a layer depends on one modality alone: all are in one tensor from the first layer on, or "
            "what is computed of one is computed outside of modules with parameters.",
        )
    reaching: dict[str, None] = {}
    for subset in probe.incomplete:
        layers = _reaching(probe, subset, complete)
        if layers is None:
            return found(NOT_APPLICABLE, None, "The output has no gradient: it is labels, or made without a graph.")
        reaching |= dict.fromkeys(layers)
    if not reaching:
        return found(PASS, 0.0, "What the layers of an absent modality make of its filling does not reach the output.")
    named = listed(list(reaching), most=3, rest="{} more")
    if probe.convention == ZERO:
        return found(
            NOTE,
            float(len(reaching)),
            f"The layers {named} run on the zeros of an absent modality, and the constants that they make of them "
            "take part in the output.",
        )
    return found(
        FAIL,
        float(len(reaching)),
        f"The layers {named} run on the filling of an absent modality, and the constants that they make of it (their "
        "biases) reach the output. Leave absent modalities out of the fusion: weight its mean by present, or mask "
        "the attention's keys.",
    )


def _owners(probe: Probe) -> _Complete | None:
    """Return whose the channels are; None if what is called, or what shape it returns, depends on the images."""
    present = probe.present([probe.uses])
    changes: defaultdict[Call, dict[int, torch.Tensor]] = defaultdict(dict)
    calls: set[Call] = set()
    for case in range(_CASES):
        images = probe.filled(probe.images(1, case=case), present, "reference")
        other = probe.images(1, case=case + _CASES)
        plain = _outputs(probe, images, present)
        calls |= plain.keys()
        for channel in probe.uses:
            changed = images.clone()
            changed[:, channel] = other[:, channel]
            seen = _outputs(probe, changed, present)
            if seen.keys() != calls or any(value.shape != plain[call].shape for call, value in seen.items()):
                return None
            for call, value in seen.items():
                differs = _in_channels(_differ(value, plain[call]))
                changes[call][channel] = differs | changes[call].get(channel, torch.zeros_like(differs))
    owners = {}
    for call, by_channel in changes.items():
        number = torch.stack(list(by_channel.values())).sum(0)
        owner = torch.full_like(number, _NOT_OWNED)
        for channel, differs in by_channel.items():
            owner[differs & (number == 1)] = channel
        if bool((owner != _NOT_OWNED).any()):
            owners[call] = owner
    return _Complete(owners, _number_of_calls(calls))


def _reaching(probe: Probe, subset: Subset, complete: _Complete) -> list[str] | None:
    """Return the layers with channels of modalities outside of the subset that reach the output; None without graph."""
    present = probe.present([subset])
    found = _outputs_and_gradients(probe, probe.filled(probe.images(1), present, "reference"), present)
    if found is None:
        return None
    others = _outputs(probe, probe.filled(probe.images(1, case=1), present, "reference"), present)
    number_of_calls = _number_of_calls(found)
    layers = []
    for call, (value, gradient) in found.items():
        owner, other = complete.owners.get(call), others.get(call)
        if owner is None or other is None or number_of_calls[call[0]] != complete.number_of_calls[call[0]]:
            continue
        is_used = _in_channels((value != 0) & (gradient != 0))
        if is_used.shape != owner.shape or other.shape != value.shape:
            continue
        is_filling = ~_in_channels(_differ(value, other))
        layers += [
            f"{call[0]} ({probe.names[channel]})"
            for channel in probe.uses
            if channel not in subset and bool(((owner == channel) & is_filling & is_used).any())
        ]
    return layers


def _number_of_calls(calls: Iterable[Call]) -> Counter[str]:
    return Counter(name for name, index in {(name, index) for name, index, _ in calls})


def _differ(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one != other) & ~(one.isnan() & other.isnan())


def _in_channels(where: torch.Tensor) -> torch.Tensor:
    """Return (samples, channels), whether it is so anywhere in a channel of a sample, from (samples, channels, ...)."""
    shaped = where.reshape(*where.shape, *[1] * (2 - where.ndim)) if where.ndim < 2 else where
    return shaped.flatten(2).any(2) if shaped.ndim > 2 else shaped


def _outputs(probe: Probe, images: torch.Tensor, present: torch.Tensor) -> dict[Call, torch.Tensor]:
    """Run the network without a graph, and return what its layers return."""
    kept: dict[Call, torch.Tensor] = {}
    with torch.no_grad(), _hooked(probe, lambda call, tensor: kept.__setitem__(call, tensor.clone())):
        probe.fed(images, present)
    return kept


def _outputs_and_gradients(
    probe: Probe, images: torch.Tensor, present: torch.Tensor
) -> dict[Call, tuple[torch.Tensor, torch.Tensor]] | None:
    """Run the network, and return what its layers return beside the gradient of the output at it, where it has one.

    Parameters that are frozen have a graph here. None if the output has no graph.
    """
    outputs: dict[Call, torch.Tensor] = {}

    def keep(call: Call, tensor: torch.Tensor) -> None:
        if tensor.requires_grad:
            outputs[call] = tensor

    with torch.enable_grad(), probe.with_graph(), _hooked(probe, keep):
        loss = projection(tensors_of(probe.fed(images, present)))
        if loss is None or not outputs:
            return None
        gradients = torch.autograd.grad(loss, list(outputs.values()), allow_unused=True)
    return {
        call: (value.detach(), gradient)
        for (call, value), gradient in zip(outputs.items(), gradients, strict=True)
        if gradient is not None
    }


@contextlib.contextmanager
def _hooked(probe: Probe, keep: Callable[[Call, torch.Tensor], None]) -> Iterator[None]:
    """Call ``keep`` for each tensor that a layer returns, in evaluation; a layer is a module with own parameters."""
    count: defaultdict[str, int] = defaultdict(int)

    def hook_of(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
            index = count[name]
            count[name] += 1
            for place, tensor in enumerate(tensors_in(output)):
                keep((name, index, place), tensor)

        return hook

    with contextlib.ExitStack() as stack:
        for name, module in probe.network.named_modules():
            if next(module.parameters(recurse=False), None) is not None:
                handle = module.register_forward_hook(hook_of(name or type(module).__name__))
                stack.callback(handle.remove)
        stack.enter_context(probe.in_mode(training=False))
        stack.enter_context(probe.buffers_restored())
        seed_everything(probe.seed)
        yield
