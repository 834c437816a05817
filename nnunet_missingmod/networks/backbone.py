"""The interface between backbones and the networks around them: a backbone's parts, its outputs, its absent input.

Every network of this package imports it; it imports only ``absence``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.modules.conv import _ConvNd
from torch.nn.parallel import DataParallel, DistributedDataParallel

from nnunet_missingmod import absence

# nn.Conv3d or nn.Conv2d.
ConvOp = Callable[..., _ConvNd]

# A tensor (B, K, *spatial), or with deep supervision a list of them, full resolution first.
Logits = torch.Tensor | list[torch.Tensor]


class Backbone(Protocol):
    """A U-Net in two halves, as ``dynamic_network_architectures`` builds PlainConvUNet and ResidualEncoderUNet.

    ``encoder(x)`` returns the list of skips, full resolution first and bottleneck last; ``decoder(skips)`` returns
    logits. The encoder has ``output_channels`` (one number per level) and ``conv_op``. Both halves have
    ``compute_conv_feature_map_size``, which nnU-Net's planner calls.
    """

    encoder: Any
    decoder: Any


class Separately(NamedTuple):
    """What a network of modality encoders makes of each modality, which losses beside the segmentation's use.

    Attributes:
        levels: per level, full resolution first, (B, J, c_k, *spatial_k), before any fusion.
        encoded: (B, J) bool, the modalities that were encoded; with ``encodes_dropped`` they are all of the case's.
        bottleneck: (B, J, c, *grid): the deepest level as it is fused, where there is attention between modalities.
        specific: (B, J, c, *grid): the deepest level of the modalities' own encoders, beside a shared one.
        images: (B, J, *spatial), the network's input; anything where a modality was not encoded.
        maps: per level (B, K, *spatial_k): the logits of the regions that region-aware fusion found.
        gaussians: per level means and logarithms of variances, (B, J, C_k, *spatial_k) each, where they are fused, for
            ``gaussian_fusion.bounded``.
        told: ``encoded`` on the CPU, where the network was told it there.
    """

    levels: list[torch.Tensor]
    encoded: torch.Tensor
    bottleneck: torch.Tensor | None = None
    specific: torch.Tensor | None = None
    images: torch.Tensor | None = None
    maps: Sequence[torch.Tensor] = ()
    gaussians: Sequence[tuple[torch.Tensor, torch.Tensor]] = ()
    told: torch.Tensor | None = None

    def encoded_on_host(self) -> torch.Tensor:
        """Return ``encoded`` on the CPU; a GPU is waited for only if the network was not told it."""
        return self.encoded.cpu() if self.told is None else self.told


class Features(NamedTuple):
    """What ``forward(x, return_features=True)`` adds to the logits.

    Attributes:
        latents: (B, J, C, *spatial), the channel encoder's output; an absent modality holds a constant that depends on
            no image.
        present: (B, J) bool, on the device of the latents.
        encoder: per level, full resolution first, (B, C_k, *spatial_k): the features that the decoder gets, of all
            present modalities together.
        separately: of a network of modality encoders.
        offers: (B, J, J, w, *spatial), of a substituting first stage: at [:, m, k] what modality m offers for k.
    """

    latents: torch.Tensor
    present: torch.Tensor
    encoder: list[torch.Tensor]
    separately: Separately | None = None
    offers: torch.Tensor | None = None


def map_logits(function: Callable[[torch.Tensor], torch.Tensor], logits: Logits) -> Logits:
    """Apply ``function`` to the logits, or to each output of deep supervision."""
    if isinstance(logits, torch.Tensor):
        return function(logits)
    return [function(output) for output in logits]


def count_outputs(channels: int, input_size: Sequence[int]) -> int:
    """Return the number of values in ``channels`` feature maps of one sample of size ``input_size``."""
    values = channels
    for size in input_size:
        values *= int(size)
    return values


class AbsentChannelFill:
    """Forward pre-hook that replaces absent channels of the network's input (B, C, *spatial) by zero."""

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        batch: torch.Tensor = inputs[0]
        return absence.fill(batch), *inputs[1:]


def fill_absent_channels(network: nn.Module) -> nn.Module:
    """Make ``network`` see zeros in place of absent channels, and return it.

    Its parameters, their names and its output for complete inputs are unchanged.
    """
    network.register_forward_pre_hook(AbsentChannelFill())
    return network


class SubsetOnly:
    """Forward pre-hook that, in evaluation, marks modalities outside of a subset as absent.

    Args:
        channels: the subset.
        num_modalities: J; channels after the first J stay.
    """

    def __init__(self, channels: Sequence[int], num_modalities: int) -> None:
        self.channels = tuple(channels)
        self.num_modalities = num_modalities

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if module.training:
            return None  # the trainer drops the others, which a teacher and losses may still look at
        return self.mark(inputs[0]), *inputs[1:]

    def mark(self, batch: torch.Tensor) -> torch.Tensor:
        """Return a copy of a batch (B, C, *spatial) with the other modalities marked absent.

        Raises:
            ValueError: a case has none of the subset's.
        """
        kept = absence.read(batch[:, : self.num_modalities])
        members = torch.zeros_like(kept[0])
        members[list(self.channels)] = True
        if not (kept & members).any(1).all():
            raise self._refusal()
        marked = batch.clone()
        absence.mark(marked, kept & members)
        return marked

    def within(self, subset: Sequence[int]) -> tuple[int, ...]:
        """Return the channels of a subset that are in this one.

        Raises:
            ValueError: there is none.
        """
        shared = tuple(channel for channel in subset if channel in self.channels)
        if not shared:
            raise self._refusal()
        return shared

    def _refusal(self) -> ValueError:
        return ValueError(
            f"This model was trained on channels {', '.join(map(str, self.channels))} alone "
            '("modality_subset"), and a case has none of them. Predict it with another model; evaluate this one on '
            "--subsets that have one of them."
        )


def predict_from_subset(network: nn.Module, subset: Sequence[int] | str, num_modalities: int) -> nn.Module:
    """Make ``network`` predict from the channels of ``subset`` alone, and return it; ``"all"`` changes nothing.

    Raises:
        ValueError: the subset is no list of channel numbers, which a training writes in the place of names.
    """
    if subset != "all":
        numbers = [channel for channel in subset if isinstance(channel, int) and 0 <= channel < num_modalities]
        if isinstance(subset, str) or len(numbers) != len(subset):
            raise ValueError(
                f'"modality_subset" of a trained model is "all" or channel numbers below {num_modalities}, got '
                f"{subset!r}: restore what the training wrote."
            )
        network.register_forward_pre_hook(SubsetOnly(numbers, num_modalities), prepend=True)
    return network


def subset_only(network: nn.Module) -> SubsetOnly | None:
    """Return what makes a network predict from a subset of its modalities alone; None if it takes all."""
    return next((hook for hook in network._forward_pre_hooks.values() if isinstance(hook, SubsetOnly)), None)


def unwrapped(network: Any) -> Any:
    """Return the network itself: neither compiled by ``torch.compile`` nor wrapped for several devices."""
    while True:
        if isinstance(network, OptimizedModule):
            network = network._orig_mod
        elif isinstance(network, DistributedDataParallel | DataParallel):
            network = network.module
        else:
            return network
