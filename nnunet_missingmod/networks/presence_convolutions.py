"""Convolutions whose kernels depend on which modalities are absent.

The scale and shift of a normalisation can only weigh feature maps; a kernel can mix them in another way for another
subset. An early network replaces its backbone's convolutions by these (``presence_convolutions``), beside its
normalisations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from nnunet_missingmod.networks.norms import Condition

# Below so many channels, the groups of a convolution take longer than one convolution and a sum.
_CHANNELS_OF_A_GROUP = 16


class _PresenceConvolution(_ConvNd):
    """The convolution of ``original`` to which each absent modality adds a pointwise one.

    With a_bj = 1 if sample b lacks modality j, else 0, stride s, and W and c the original's weight and bias::

        y_b = W * x_b + c + (sum_j a_bj P_j) x_b[every s-th voxel]

    ``absent_weight`` (J, C_out, C_in), of P, starts at zero, so the layer starts as the original; weight and bias keep
    their values and names. A complete sample always uses W and c alone. One sample, as in a prediction, takes one
    convolution with the kernel W plus P in its centre, which costs what the original does. So do the samples of a batch
    on a CPU, as groups of one convolution. Elsewhere, and for few channels, the pointwise ones are added to what the
    batch's convolution returns: grouped convolutions are not fast everywhere.

    Args:
        original: with an odd kernel and as much padding as keeps the size.
        num_modalities: J.
        present: holds (B, J) bool while the backbone runs.
    """

    absent_weight: nn.Parameter
    _convolution: Callable[..., torch.Tensor]

    def _take(self, original: Any, num_modalities: int, present: Condition) -> None:
        self.present = present
        self.weight, self.bias = original.weight, original.bias
        outputs, inputs = original.weight.shape[:2]
        self.absent_weight = nn.Parameter(original.weight.detach().new_zeros(num_modalities, outputs, inputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve (B, C_in, *spatial)."""
        if self.present.changes_nothing:
            return self._convolve(x, self.weight)
        absent = (~self.present.get()).to(self.absent_weight.dtype)
        # A product and a sum instead of a matrix product, which autocast would compute in half precision.
        added = (absent[:, :, None, None] * self.absent_weight).sum(1)  # (B, C_out, C_in)
        if len(x) == 1 or (x.device.type == "cpu" and self.in_channels >= _CHANNELS_OF_A_GROUP):
            return self._convolve_each(x, self.weight + self._in_the_centre(added))
        y = self._convolve(x, self.weight)
        strided = x[(slice(None), slice(None), *(slice(None, None, step) for step in self.stride))]
        summed = torch.baddbmm(y.flatten(2), added.to(y.dtype), strided.flatten(2).to(y.dtype))
        return summed.reshape(y.shape)

    def _in_the_centre(self, pointwise: torch.Tensor) -> torch.Tensor:
        kernel = pointwise.reshape(*pointwise.shape, *[1] * len(self.kernel_size))
        return functional.pad(kernel, [side for size in reversed(self.kernel_size) for side in [size // 2] * 2])

    def _convolve_each(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Convolve each sample with its own kernel, of (B, C_out, C_in, *kernel)."""
        groups = len(x)
        y = self._convolution(
            x.flatten(0, 1)[None],
            weights.flatten(0, 1),
            None if self.bias is None else self.bias.repeat(groups),
            self.stride,
            self.padding,
            self.dilation,
            groups,
        )
        return y.reshape(groups, self.out_channels, *y.shape[2:])

    def _convolve(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        convolved: torch.Tensor = self._conv_forward(x, weight, self.bias)
        return convolved

    def extra_repr(self) -> str:
        """Return the sizes for ``print(network)``."""
        return f"{super().extra_repr()}, modalities={self.absent_weight.shape[0]}"


class PresenceConv2d(_PresenceConvolution, nn.Conv2d):
    """`_PresenceConvolution` in 2D."""

    _convolution = staticmethod(functional.conv2d)


class PresenceConv3d(_PresenceConvolution, nn.Conv3d):
    """`_PresenceConvolution` in 3D."""

    _convolution = staticmethod(functional.conv3d)


def _replaced(original: Any, num_modalities: int, present: Condition) -> nn.Module:
    kind = PresenceConv2d if isinstance(original, nn.Conv2d) else PresenceConv3d
    with torch.device("meta"):  # the original's parameters take the place of these
        new = kind(
            original.in_channels,
            original.out_channels,
            original.kernel_size,
            original.stride,
            original.padding,
            original.dilation,
            original.groups,
            original.bias is not None,
        )
    new._take(original, num_modalities, present)
    return new


def use_presence_convolutions(module: nn.Module, num_modalities: int, present: Condition) -> None:
    """Replace the convolutions of more than one voxel below ``module``, in place; a shared layer stays one layer.

    Convolutions that make the network larger again, and those of a single voxel, stay as they are.

    Args:
        module: its layers read ``present`` while it runs.
        num_modalities: J.
        present: see ``norms.use_presence_norms``.
    """
    built: dict[nn.Module, nn.Module] = {}
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, nn.Conv2d | nn.Conv3d) and max(child.kernel_size) > 1 and child.groups == 1:
                if child not in built:
                    built[child] = _replaced(child, num_modalities, present)
                parent._modules[name] = built[child]
