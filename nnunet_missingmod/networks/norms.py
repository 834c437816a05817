"""Normalisation whose affine parameters depend on a row's modality, or on which modalities are absent.

The networks replace the backbone's instance normalisations by it; with a set for each modality, group normalisations
too, which RDL's reference network has. A backbone passes a single tensor from layer to
layer, so its layers cannot get the modalities as an argument: they read them from a ``Condition``, which the network
around the backbone sets before it runs the backbone.

Source of the per-modality parameters: Cheng et al., Robust Divergence Learning for Missing-Modality Segmentation
(dynamic sharing).
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
    """The value that a network shares with layers of its backbone during a forward pass; unset between two passes.

    Attributes:
        changes_nothing: layers may do without what they add for the value: every modality is present.
    """

    def __init__(self) -> None:
        self._value: torch.Tensor | None = None
        self.changes_nothing = False

    @contextmanager
    def set(self, value: torch.Tensor, *, changes_nothing: bool = False) -> Iterator[None]:
        """Hold ``value`` inside the ``with`` block, in which the backbone runs."""
        self._value, self.changes_nothing = value, changes_nothing
        try:
            yield
        finally:
            self._value, self.changes_nothing = None, False

    def get(self) -> torch.Tensor:
        """Return the value that is set.

        Raises:
            RuntimeError: none is set, because the backbone was called directly instead of through its network.
        """
        if self._value is None:
            raise RuntimeError("This backbone's normalisation depends on the modalities: call the network around it.")
        return self._value


def per_sample_instance_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, eps: float) -> torch.Tensor:
    """Return weight * (x - mean(x)) / sqrt(var(x) + eps) + bias, mean and var over the voxels of a sample's channel.

    If all rows of ``weight`` and ``bias`` are equal, the result equals that of ``nn.InstanceNorm`` bit for bit, because
    PyTorch computes that one in the same way: as one sample with N * C channels.

    Args:
        x: (N, C, *spatial).
        weight: (N, C).
        bias: (N, C).
        eps: added to the variance.
    """
    flat = x.reshape(1, -1, *x.shape[2:])  # (1, N * C, *spatial)
    return functional.instance_norm(flat, weight=weight.flatten(), bias=bias.flatten(), eps=eps).reshape(x.shape)


def replace_instance_norms(
    module: nn.Module,
    build: Callable[[_InstanceNorm], nn.Module],
    *,
    build_group: Callable[[nn.GroupNorm], nn.Module] | None = None,
) -> None:
    """Replace every affine instance normalisation ``layer`` below ``module`` by ``build(layer)``, in place.

    Group normalisations are replaced by ``build_group(layer)`` where it is given.

    A layer that is registered under several names (as in ``dynamic_network_architectures``) is built once and stays
    one layer. Instance normalisations without affine parameters stay as they are.

    Raises:
        ValueError: ``module`` has a normalisation of another kind, or one with running statistics.
    """
    built: dict[nn.Module, nn.Module] = {}
    for name, parent in list(module.named_modules()):
        for child_name, child in list(parent.named_children()):
            if isinstance(child, nn.GroupNorm) and child.affine and build_group is not None:
                built[child] = build_group(child)
                continue
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
        # Not named_children(), which lists a layer under one of its names only.
        for child_name, named_child in list(parent._modules.items()):
            if named_child in built:
                parent._modules[child_name] = built[named_child]


def _per_row_group_norm(
    x: torch.Tensor, num_groups: int, weight: torch.Tensor, bias: torch.Tensor, *, eps: float
) -> torch.Tensor:
    """Return the group normalisation of (N, C, *spatial) with parameters (N, C) of each row."""
    normalised = functional.group_norm(x, num_groups, eps=eps)
    weight, bias = (part.to(normalised.dtype).reshape(*x.shape[:2], *[1] * (x.ndim - 2)) for part in (weight, bias))
    return normalised * weight + bias


class ModalityInstanceNorm(nn.Module):
    """Instance normalisation with J sets of affine parameters; row n of the batch uses the set of its own modality.

    ``weight`` and ``bias`` are single parameters (J, C) rather than J parameters (C,) each, so that every parameter
    takes part in every step. A modality that is not in the batch gets a gradient of exactly zero.

    Args:
        original: an affine instance normalisation; every modality starts with a copy of its parameters.
        num_modalities: J.
        modality: holds (N,) int64, the modality of each row of the batch, while the backbone runs.
    """

    def __init__(self, original: _InstanceNorm, num_modalities: int, modality: Condition) -> None:
        super().__init__()
        self.eps = original.eps
        self.modality = modality
        self.weight = nn.Parameter(original.weight.detach().repeat(num_modalities, 1))  # (J, C)
        self.bias = nn.Parameter(original.bias.detach().repeat(num_modalities, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, *spatial)."""
        index = self.modality.get()
        weight, bias = self.weight.index_select(0, index), self.bias.index_select(0, index)
        if torch.compiler.is_compiling():  # instance_norm would compile anew for other numbers of rows, this does not
            return _per_row_group_norm(x, x.shape[1], weight, bias, eps=self.eps).to(x.dtype)
        return per_sample_instance_norm(x, weight, bias, eps=self.eps)

    def extra_repr(self) -> str:
        """Return the sizes for ``print(network)``."""
        return f"modalities={self.weight.shape[0]}, channels={self.weight.shape[1]}, eps={self.eps}"


class ModalityGroupNorm(nn.Module):
    """Group normalisation with J sets of affine parameters, as `ModalityInstanceNorm`."""

    def __init__(self, original: nn.GroupNorm, num_modalities: int, modality: Condition) -> None:
        super().__init__()
        self.eps = original.eps
        self.num_groups = original.num_groups
        self.modality = modality
        self.weight = nn.Parameter(original.weight.detach().repeat(num_modalities, 1))  # (J, C)
        self.bias = nn.Parameter(original.bias.detach().repeat(num_modalities, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, *spatial)."""
        index = self.modality.get()
        weight, bias = self.weight.index_select(0, index), self.bias.index_select(0, index)
        return _per_row_group_norm(x, self.num_groups, weight, bias, eps=self.eps)

    def extra_repr(self) -> str:
        """Return the sizes for ``print(network)``."""
        return f"modalities={self.weight.shape[0]}, channels={self.weight.shape[1]}, groups={self.num_groups}"


def use_modality_norms(module: nn.Module, num_modalities: int) -> Condition:
    """Replace the normalisations below ``module`` by ones with a set of affine parameters per modality.

    Returns:
        The condition that tells them the modality of each row.

    Raises:
        ValueError: ``module`` uses another normalisation than instance or group normalisation.
    """
    modality = Condition()
    replace_instance_norms(
        module,
        lambda original: ModalityInstanceNorm(original, num_modalities, modality),
        build_group=lambda original: ModalityGroupNorm(original, num_modalities, modality),
    )
    return modality


class PresenceInstanceNorm(nn.Module):
    """Instance normalisation in which each absent modality changes the affine parameters.

    With a_bj = 1 if sample b lacks modality j, else 0::

        weight_b = weight * (1 + sum_j a_bj * absent_scale_j)
        bias_b   = bias + sum_j a_bj * absent_shift_j

    ``absent_scale`` and ``absent_shift`` (J, C) start at zero, so the layer starts as the original. A complete sample
    always uses ``weight`` and ``bias`` alone.

    Args:
        original: an affine instance normalisation; its parameters keep their values and names.
        num_modalities: J.
        present: holds (B, J) bool while the backbone runs.
    """

    def __init__(self, original: _InstanceNorm, num_modalities: int, present: Condition) -> None:
        super().__init__()
        self.eps = original.eps
        self.present = present
        self.weight = nn.Parameter(original.weight.detach().clone())  # (C,)
        self.bias = nn.Parameter(original.bias.detach().clone())
        self.absent_scale = nn.Parameter(self.weight.detach().new_zeros(num_modalities, self.weight.shape[0]))
        self.absent_shift = nn.Parameter(torch.zeros_like(self.absent_scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, *spatial)."""
        # A product and a sum instead of a matrix product, which autocast would compute in half precision.
        absent = self.absent().unsqueeze(2)  # (B, J, 1)
        weight = self.weight * (1 + (absent * self.absent_scale).sum(1))  # (B, C)
        bias = self.bias + (absent * self.absent_shift).sum(1)
        return per_sample_instance_norm(x, weight, bias, eps=self.eps)

    def absent(self) -> torch.Tensor:
        """Return a_bj (B, J)."""
        return (~self.present.get()).to(self.weight.dtype)

    def extra_repr(self) -> str:
        """Return the sizes for ``print(network)``."""
        return f"modalities={self.absent_scale.shape[0]}, channels={self.weight.shape[0]}, eps={self.eps}"


def use_presence_norms(module: nn.Module, num_modalities: int) -> Condition:
    """Replace the instance normalisations below ``module`` by `PresenceInstanceNorm`, and return their condition.

    Raises:
        ValueError: ``module`` uses another normalisation than instance normalisation.
    """
    present = Condition()
    replace_instance_norms(module, lambda original: PresenceInstanceNorm(original, num_modalities, present))
    return present
