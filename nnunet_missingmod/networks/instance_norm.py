"""Instance normalisation whose affine parameters differ from sample to sample, and how it enters a finished backbone.

A backbone hands tensors from layer to layer and nothing beside them, so what decides the affine parameters of a batch
reaches the layers through a ``Condition`` that they share with the network around the backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm


class Condition:
    """What the normalisation layers of one network are told about the batch at hand; empty between two batches."""

    def __init__(self) -> None:
        self._value: torch.Tensor | None = None

    @contextmanager
    def set(self, value: torch.Tensor) -> Iterator[None]:
        """Hold ``value`` while the backbone runs."""
        self._value = value
        try:
            yield
        finally:
            self._value = None

    def get(self) -> torch.Tensor:
        """Return the value.

        Raises:
            RuntimeError: the backbone was called directly instead of through its network.
        """
        if self._value is None:
            raise RuntimeError("This backbone's normalisation depends on the modalities: call the network around it.")
        return self._value


def per_sample_instance_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, eps: float) -> torch.Tensor:
    """Return weight * (x - mean(x)) / sqrt(var(x) + eps) + bias, moments over the voxels of each sample and channel.

    With equal rows in ``weight`` and ``bias`` the result is that of ``nn.InstanceNorm`` bit for bit: that one, too,
    normalises a batch of one whose channels are all samples' channels.

    Args:
        x: (N, C, *spatial).
        weight: (N, C).
        bias: (N, C).
        eps: added to the variance.
    """
    flat = x.reshape(1, -1, *x.shape[2:])  # (1, N * C, *spatial)
    return functional.instance_norm(flat, weight=weight.flatten(), bias=bias.flatten(), eps=eps).reshape(x.shape)


def replace_instance_norms(module: nn.Module, build: Callable[[_InstanceNorm], nn.Module]) -> None:
    """Replace every affine instance normalisation below ``module`` by what ``build`` makes of it, in place.

    A layer that is registered under several names (as in ``dynamic_network_architectures``) is built once and stays
    one layer. Instance normalisation without affine parameters has nothing to adapt and is left alone.

    Raises:
        ValueError: there is a normalisation of another kind, or one with running statistics.
    """
    built: dict[nn.Module, nn.Module] = {}
    for name, parent in list(module.named_modules()):
        for child_name, child in list(parent.named_children()):
            if isinstance(child, (_BatchNorm, nn.GroupNorm, nn.LayerNorm)) or (
                isinstance(child, _InstanceNorm) and child.track_running_stats
            ):
                raise ValueError(
                    f"{name}.{child_name} is {child}; only instance normalisation without running statistics can "
                    "depend on the modalities. Use plans whose norm_op is InstanceNorm."
                )
            if isinstance(child, _InstanceNorm) and child.affine and child not in built:
                built[child] = build(child)
    for parent in list(module.modules()):
        # Not named_children(), which names a layer once only.
        for child_name, named_child in list(parent._modules.items()):
            if named_child in built:
                parent._modules[child_name] = built[named_child]
