"""Forms of presence conditioning that were tried in the study and are not part of the package."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.instancenorm import _InstanceNorm

from nnunet_missingmod.networks.norms import (
    Condition,
    PresenceInstanceNorm,
    replace_instance_norms,
    use_presence_norms,
)
from nnunet_missingmod.networks.presence_convolutions import use_presence_convolutions


class SubsetInstanceNorm(PresenceInstanceNorm):
    """Instance normalisation whose affine parameters are a function of the whole subset of absent modalities.

    The package's ``PresenceInstanceNorm`` adds up a contribution of each absent modality; here two that are absent
    together may do something else than each alone. In the place of the row a_b of absent modalities (0 or 1) stands
    what a hidden layer h(a) = relu(a A + c) makes of it, h(a_b) - h(0), which is 0 for a complete sample.
    """

    HIDDEN = 16

    def __init__(self, original: _InstanceNorm, num_modalities: int, present: Condition) -> None:
        super().__init__(original, self.HIDDEN, present)
        new = self.weight.detach().new_empty
        self.hidden_weight = nn.Parameter(new(num_modalities, self.HIDDEN).normal_(std=num_modalities**-0.5))
        self.hidden_bias = nn.Parameter(new(self.HIDDEN).normal_(std=num_modalities**-0.5))

    def absent(self) -> torch.Tensor:
        """Return h(a_b) - h(0), (B, HIDDEN)."""
        hidden = functional.relu(super().absent() @ self.hidden_weight + self.hidden_bias)
        return hidden - functional.relu(self.hidden_bias)


class FastInstanceNorm(PresenceInstanceNorm):
    """The package's layer with a_b in threes: what it learns of absent modalities, it learns nine times as fast."""

    def absent(self) -> torch.Tensor:
        """Return 3 a_b, (B, J)."""
        return 3 * super().absent()


class AdaptedKernel(nn.Module):
    """A convolution to whose kernel each absent modality adds one, at first zero::

        y_b = (W + sum_j a_bj P_j) * x_b

    Samples with the same subset have the same kernel, so that a prediction costs what the convolution alone does.
    """

    def __init__(self, original: nn.Module, num_modalities: int, present: Condition) -> None:
        super().__init__()
        self.original, self.present = original, present
        self.absent_weight = nn.Parameter(original.weight.detach().new_zeros(num_modalities, *original.weight.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve (B, C, *spatial), every sample as a group of one convolution."""
        original, samples = self.original, len(x)
        absent = (~self.present.get()).to(self.absent_weight.dtype)
        kernels = original.weight + torch.einsum("bj,j...->b...", absent, self.absent_weight)
        bias = None if original.bias is None else original.bias.repeat(samples)
        together = x.flatten(0, 1).unsqueeze(0)
        convolve = functional.conv2d if x.ndim == 4 else functional.conv3d
        y = convolve(
            together, kernels.flatten(0, 1), bias, original.stride, original.padding, original.dilation, samples
        )
        return y.unflatten(1, (samples, -1))[0]


def _norms(norm: type[PresenceInstanceNorm]) -> Callable[[nn.Module, int], Condition]:
    def build(network: nn.Module, num_modalities: int) -> Condition:
        present = Condition()
        replace_instance_norms(network, lambda original: norm(original, num_modalities, present))
        return present

    return build


def _kernels(network: nn.Module, num_modalities: int) -> Condition:
    """Norms as the package has them, and in the backbone kernels that depend on what is absent."""
    present = use_presence_norms(network, num_modalities)
    built: dict[nn.Module, nn.Module] = {}
    backbone = [*network.encoder.modules(), *network.decoder.modules()]
    for parent in dict.fromkeys(backbone):
        for name, child in list(parent._modules.items()):
            if isinstance(child, nn.Conv2d) and max(child.kernel_size) > 1:
                # nnU-Net lists a layer under two names.
                if child not in built:
                    built[child] = AdaptedKernel(child, num_modalities, present)
                parent._modules[name] = built[child]
    return present


def _coarse(network: nn.Module, num_modalities: int) -> Condition:
    """The package's kernels, at all levels but that of the full resolution, where they cost most."""
    present = use_presence_norms(network, num_modalities)
    coarse = nn.ModuleList([*network.encoder.stages[1:], *network.decoder.stages[:-1]])
    use_presence_convolutions(coarse, num_modalities, present)
    return present


# By name: replaces the instance normalisations of an early network and returns the condition that they read.
PRESENCE_FORMS: dict[str, Callable[[nn.Module, int], Condition]] = {
    "subset": _norms(SubsetInstanceNorm),
    "fast": _norms(FastInstanceNorm),
    "kernels": _kernels,
    "coarse": _coarse,
    "encoder": lambda network, num_modalities: use_presence_norms(network.encoder, num_modalities),
    # nnU-Net's decoder has the encoder as a submodule.
    "decoder": lambda network, num_modalities: use_presence_norms(network.decoder.stages, num_modalities),
}
