"""Decoders beside the network's own, of the same design, for losses in training; a prediction does not know them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import nn


class DecoderDesign(NamedTuple):
    """How nnU-Net's U-Net decoder is built for features of modality encoders.

    Attributes:
        encoder: one of the encoders; its kernels, strides, normalisation and activation are those of the decoder.
        channels: of the features at each level, full resolution first.
        convolutions: of each stage, full resolution first.
        num_outputs: classes or regions.
    """

    encoder: Any
    channels: Sequence[int]
    convolutions: Sequence[int]
    num_outputs: int

    def build(self, *, level: int = 0, num_outputs: int | None = None) -> nn.Module:
        """Return a decoder, with nnU-Net's initial weights, of the levels from ``level`` on to logits at that level.

        Args:
            level: 0 is full resolution.
            num_outputs: channels of the result, by default as many as the network's.

        Raises:
            ValueError: nothing is left to decode from that level on.
        """
        if not 0 <= level < len(self.channels) - 1:
            raise ValueError(
                f"A decoder ends at one of the levels 0 to {len(self.channels) - 2} of this network, got {level}."
            )
        names = ("conv_op", "conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs")
        facts = SimpleNamespace(
            output_channels=self.channels[level:],
            strides=self.encoder.strides[level:],
            kernel_sizes=self.encoder.kernel_sizes[level:],
            **{name: getattr(self.encoder, name) for name in (*names, "nonlin", "nonlin_kwargs")},
        )
        decoder = UNetDecoder(
            facts,
            self.num_outputs if num_outputs is None else num_outputs,
            list(self.convolutions[level:])[::-1],
            deep_supervision=False,
        )
        # nnU-Net builds the outputs of lower levels all the same; several processes would wait for their gradients.
        decoder.seg_layers = decoder.seg_layers[-1:]
        decoder.apply(InitWeights_He(1e-2))
        return decoder


def decoders_in(module: nn.Module) -> list[UNetDecoder]:
    """Return the decoders in a module, as `DecoderDesign.build` makes them."""
    return [part for part in module.modules() if isinstance(part, UNetDecoder)]


def design_of(decoder: UNetDecoder, encoder: Any, channels: Sequence[int]) -> DecoderDesign:
    """Return how ``decoder`` is built, for features of ``channels`` per level of ``encoder``."""
    stages: Any = decoder.stages
    convolutions = tuple(len(stage.convs) for stage in stages)[::-1]
    return DecoderDesign(encoder, tuple(channels), convolutions, int(decoder.num_classes))
