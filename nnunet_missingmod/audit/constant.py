"""Nothing that layers make of the filling of an absent modality reaches the output.

``constant`` of an audit. Zeros in place of an absent modality become biases after the first layer of its own encoder,
and an average or an attention over all modalities takes them in: a constant that no image made, with the weight of an
image. Where modalities stand in the channels of one sample from the first layer on, what follows can tell a constant in
a channel of its own from an image, and the check does not apply.
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

# A layer by its name, the how manieth of its calls in a forward pass, the how manieth tensor of what it returns, and
# whether features stand on its last axis.
Call = tuple[str, int, int, bool]

_UNIT = "layers of an absent modality that reach the output"
_NOT_OWNED = -1
_CASES = 2  # in each of which it depends on one modality alone: in one case others may be cut off by chance
# Layers whose features are on the last axis: what stands on the axes before it are samples and tokens.
_FEATURES_LAST = (nn.Linear, nn.LayerNorm, nn.MultiheadAttention, nn.Embedding)


@dataclass(frozen=True)
class _Complete:
    """What layers do with all modalities there: {call: owners}, and how often each is called.

    The owner of a sample or token is the modality on which alone it depends, or -1. Calls without any are left out.
    """

    owners: Mapping[Call, torch.Tensor]
    number_of_calls: Mapping[str, int]


def constant_check(probe: Probe) -> Finding:
    """Look for what layers make of one modality alone, and what reaches the output although that is absent.

    A sample (or a token, of layers of tokens) of what a layer returns belongs to modality j if, with all modalities
    there, it changes with image j and with no other: an encoder of j's own returns such samples, one encoder of all
    in a batch of B J, and one layer on J tokens. It is made of a filling if, with j absent, it changes with no image;
    and it reaches the output if there is a place in it in which neither its value nor the gradient of the output is
    zero. A layer that is called another number of times without the modality, or returns another shape, leaves it out.

    It is a fault if the layer returns the same for an image j of zeros that is there. Else it is a note: a constant
    that was learned to stand for what is missing is a choice.
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
            "No layer makes a sample or token of one modality alone: all stand in the channels of one sample from the "
            "first layer on, or what is made of one is made outside of modules with parameters.",
        )
    reaching: dict[str, bool] = {}
    for subset in probe.incomplete:
        layers = _reaching(probe, subset, complete)
        if layers is None:
            return found(NOT_APPLICABLE, None, "The output has no gradient: it is labels, or made without a graph.")
        for layer, is_of_zeros in layers.items():
            reaching[layer] = is_of_zeros or reaching.get(layer, False)
    if not reaching:
        return found(PASS, 0.0, "What the layers of an absent modality make of its filling does not reach the output.")
    of_zeros = [layer for layer, is_of_zeros in reaching.items() if is_of_zeros]
    named = listed(of_zeros or list(reaching), most=3, rest="{} more")
    if not of_zeros:
        return found(
            NOTE,
            float(len(reaching)),
            f"The layers {named} make constants of an absent modality that are not those of zeros in its place, such "
            "as learned tokens of what is missing, and these take part in the output.",
        )
    if probe.convention == ZERO:
        return found(
            NOTE,
            float(len(of_zeros)),
            f"The layers {named} run on the zeros of an absent modality, and the constants that they make of them "
            "take part in the output.",
        )
    return found(
        FAIL,
        float(len(of_zeros)),
        f"The layers {named} run on the filling of an absent modality, and the constants that they make of it (their "
        "biases) reach the output. Leave absent modalities out of the fusion: weight its mean by present, or mask "
        "the attention's keys.",
    )


def _owners(probe: Probe) -> _Complete | None:
    """Return whose the samples are; None if what is called, or what shape it returns, depends on the images."""
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
                differs = _of_samples(_differ(value, plain[call]), call)
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


def _reaching(probe: Probe, subset: Subset, complete: _Complete) -> dict[str, bool] | None:
    """Return the layers whose samples of modalities outside of the subset reach the output, and if they are of zeros.

    None without a graph.
    """
    present = probe.present([subset])
    images = probe.images(1)
    given = probe.filled(images, present, "reference")
    gradients = _gradients(probe, given, present)
    if gradients is None:
        return None
    # Without a graph, as all that they are compared with: a layer may compute otherwise where there is one.
    values = _outputs(probe, given, present)
    others = _outputs(probe, probe.filled(probe.images(1, case=1), present, "reference"), present)
    images[:, [channel for channel in probe.uses if channel not in subset]] = 0
    everything = probe.present([probe.uses])
    of_zeros = _outputs(probe, probe.filled(images, everything, "reference"), everything)
    number_of_calls = _number_of_calls(values)
    layers: dict[str, bool] = {}
    for call, value in values.items():
        owner, other, gradient = complete.owners.get(call), others.get(call), gradients.get(call)
        if owner is None or other is None or gradient is None or gradient.shape != value.shape:
            continue
        if number_of_calls[call[0]] != complete.number_of_calls[call[0]]:
            continue
        is_used = _of_samples((value != 0) & (gradient != 0), call)
        if is_used.shape != owner.shape or other.shape != value.shape:
            continue
        reaches = is_used & ~_of_samples(_differ(value, other), call)
        zeros = of_zeros.get(call)
        is_of_zeros = torch.zeros_like(reaches)
        if zeros is not None and zeros.shape == value.shape:
            is_of_zeros = ~_of_samples(~torch.isclose(value, zeros, rtol=probe.rounding, atol=0.0), call)
        for channel in probe.uses:
            of_channel = reaches & (owner == channel)
            if channel not in subset and bool(of_channel.any()):
                name = f"{call[0]} ({probe.names[channel]})"
                layers[name] = layers.get(name, False) or bool((of_channel & is_of_zeros).any())
    return layers


def _number_of_calls(calls: Iterable[Call]) -> Counter[str]:
    return Counter(name for name, _ in {(name, index) for name, index, *_ in calls})


def _differ(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one != other) & ~(one.isnan() & other.isnan())


def _of_samples(where: torch.Tensor, call: Call) -> torch.Tensor:
    """Return whether it is so anywhere in each sample of a layer, or in each token of a layer of tokens."""
    if where.ndim < 2:
        return where.reshape(-1)
    return where.any(-1) if call[-1] else where.flatten(1).any(1)


def _outputs(probe: Probe, images: torch.Tensor, present: torch.Tensor) -> dict[Call, torch.Tensor]:
    """Run the network without a graph, and return what its layers return."""
    kept: dict[Call, torch.Tensor] = {}
    with torch.no_grad(), _hooked(probe, lambda call, tensor: kept.__setitem__(call, tensor.clone())):
        probe.fed(images, present)
    return kept


def _gradients(probe: Probe, images: torch.Tensor, present: torch.Tensor) -> dict[Call, torch.Tensor] | None:
    """Run the network, and return the gradient of its output at what its layers return, where there is one.

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
    return {call: gradient for call, gradient in zip(outputs, gradients, strict=True) if gradient is not None}


@contextlib.contextmanager
def _hooked(probe: Probe, keep: Callable[[Call, torch.Tensor], None]) -> Iterator[None]:
    """Call ``keep`` for each tensor that a layer returns, in evaluation; a layer is a module with own parameters."""
    count: defaultdict[str, int] = defaultdict(int)

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
            index = count[name]
            count[name] += 1
            for place, tensor in enumerate(tensors_in(output)):
                keep((name, index, place, isinstance(module, _FEATURES_LAST)), tensor)

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
