"""The base of this package's networks, and functions that return the encoder features of these and of stock networks.

A network is a channel encoder followed by the plans' backbone. Teachers are read through ``encoder_features`` and
``forward_with_encoder_features``, so any model of the same data can be a teacher, stock nnU-Net's included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from nnunet_missingmod import absence
from nnunet_missingmod.networks.backbone import Backbone, Logits, unwrapped
from nnunet_missingmod.networks.branches import Pairs, find_pairs
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.substitution import SubstitutingEncoder


class MultimodalNetwork(nn.Module):
    """Base of the networks whose input is J modalities, absent ones marked, then E channels that are never absent.

    ``encoder`` and ``decoder`` are the backbone's, so that nnU-Net's ``network.decoder.deep_supervision = enabled``
    works.

    Args:
        channel_encoder: encodes the J modalities.
        backbone: already built and initialised.

    Attributes:
        training_output: what ``forward(x)`` returns in training mode: ``"logits"`` (the default), ``"features"`` or
            ``"branches"``. nnU-Net's training loop calls ``network(x)`` without further arguments; some losses need
            more than logits from that call. In evaluation mode ``forward(x)`` returns logits.
    """

    training_output = "logits"
    channel_encoder: Any

    def __init__(self, channel_encoder: ChannelEncoder | SubstitutingEncoder, backbone: Backbone) -> None:
        super().__init__()
        self.channel_encoder = channel_encoder
        self.backbone = backbone

    @property
    def num_modalities(self) -> int:
        """J."""
        return self.channel_encoder.num_modalities

    @property
    def encoder(self) -> Any:
        """The backbone's encoder."""
        return self.backbone.encoder

    @property
    def decoder(self) -> Any:
        """The backbone's decoder."""
        return self.backbone.decoder

    def returns_in_training(self, output: str) -> bool:
        """Return whether the network is in training mode and its ``training_output`` is ``output``."""
        return self.training and self.training_output == output

    def split_input(
        self, x: torch.Tensor, present: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the images (B, J, *spatial), the channels after them (B, E, *spatial), and ``present`` (B, J).

        Args:
            x: (B, J + E, *spatial).
            present: (B, J) bool on any device, false for every channel that is marked as absent; if None, it is read
                from the marks in ``x``.

        Raises:
            ValueError: there are fewer than J channels, or ``present`` is not (B, J).
        """
        size = (x.shape[0], self.num_modalities)
        if x.shape[1] < self.num_modalities:
            raise ValueError(f"This network wants a channel for each of {size[1]} modalities, got {x.shape[1]} in all.")
        images, extra = x[:, : size[1]], x[:, size[1] :]
        if present is None:
            return images, extra, absence.read(images)
        if present.shape != size or present.dtype != torch.bool:
            raise ValueError(f"present must be bool of shape {size}, got {present.dtype} {tuple(present.shape)}.")
        return images, extra, present

    @staticmethod
    def append_extra_channels(latents: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
        """Return (N, C + E, *spatial) from (N, C, *spatial) and (N, E, *spatial); without a copy if E = 0."""
        return torch.cat([latents, extra.to(latents.dtype)], dim=1) if extra.shape[1] else latents

    def encoder_features(self, x: torch.Tensor, present: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Return ``Features.encoder`` of ``forward(x, present, return_features=True)`` without running the decoder."""
        raise NotImplementedError

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Return the number of convolution outputs for one complete sample; nnU-Net's planner estimates memory from it.

        Args:
            input_size: (X, Y, Z) or (X, Y), without batch and channels.
        """
        raise NotImplementedError


# What is present, and what is kept of it, as the next forward pass is told; None if it is not told.
_Told = tuple[torch.Tensor | None, torch.Tensor | None]


class TakenInput(NamedTuple):
    """An input (B, J + E, *spatial) of a network that runs parts of itself for present modalities only.

    Attributes:
        images: (B, J, *spatial).
        extra: (B, E, *spatial), the channels after them.
        present: (B, J) bool.
        kept: (B, J) bool, what of them the logits are made of; None if that was not told.
        pairs: the present ones, if they are wanted.
    """

    images: torch.Tensor
    extra: torch.Tensor
    present: torch.Tensor
    kept: torch.Tensor | None
    pairs: Pairs | None


class PresentOnlyNetwork(MultimodalNetwork):
    """Base of the networks that run parts of themselves for present modalities only.

    Attributes:
        encodes_dropped: whether in training it encodes modalities that were dropped, for losses beside the
            segmentation's. They stay in the input then, and ``set_present`` says what is used for the logits.
    """

    encodes_dropped = False

    def __init__(self, channel_encoder: ChannelEncoder, backbone: Backbone) -> None:
        super().__init__(channel_encoder, backbone)
        if channel_encoder.absent_fill != "zero":
            raise ValueError(f"Absent modalities do not run in a {type(self).__name__}: use absent_fill 'zero'.")
        self._next_present: _Told = (None, None)

    def set_present(self, present: torch.Tensor, *, kept: torch.Tensor | None = None) -> None:
        """Set which modalities are present in the input of the next ``forward(x)``.

        Without it ``forward(x)`` reads the marks in ``x``; on a GPU the CPU then has to wait for the result.

        Args:
            present: (B, J) bool, on the CPU. It holds for one forward pass.
            kept: (B, J) bool, on the CPU, those of them that the logits are made of; by default all.
        """
        self._next_present = present, present if kept is None else kept

    # Not compiled: torch.compile would compile anew whenever what is told, or the number of pairs, changes. It ends the
    # graph here, and can start a new one only in the function that it compiles: call this at the start of forward.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _take_input(self, x: torch.Tensor, present: torch.Tensor | None, *, in_pairs: bool) -> TakenInput:
        """Return the parts of an input, and of what ``set_present`` said of it unless ``present`` says it."""
        kept = None
        if present is None:
            (present, kept), self._next_present = self._next_present, (None, None)
        images, extra, present = self.split_input(x, present)
        return TakenInput(images, extra, present, kept, find_pairs(present, x.device) if in_pairs else None)


def tell_present(network: nn.Module, present: torch.Tensor, *, kept: torch.Tensor | None = None) -> None:
    """Tell a network that runs only present modalities which they are, so that it need not wait for the GPU.

    Args:
        network: of any kind, compiled or wrapped or not; others are told nothing.
        present, kept: see ``PresentOnlyNetwork.set_present``.
    """
    network = unwrapped(network)
    if isinstance(network, PresentOnlyNetwork):
        network.set_present(present, kept=kept)


def encodes_dropped(network: nn.Module) -> bool:
    """Return whether the network, in training, is to be given what was dropped, and told what was kept."""
    network = unwrapped(network)
    return isinstance(network, PresentOnlyNetwork) and network.encodes_dropped and network.training


def forward_with_encoder_features(
    network: nn.Module, x: torch.Tensor, present: torch.Tensor | None = None
) -> tuple[Logits, list[torch.Tensor]]:
    """Return the logits and, per level, full resolution first, the features (B, C_k, *spatial_k) that the decoder gets.

    Args:
        network: one of this package's, or any U-Net with ``encoder`` and ``decoder``, stock nnU-Net's included.
        x: (B, J + E, *spatial), absent modalities marked. A stock network gets zeros in their place.
        present: (B, J) bool, only for networks of this package; by default all modalities that are not marked.

    Raises:
        ValueError: the network has no encoder and decoder, or ``present`` is given with a stock network.
    """
    network = unwrapped(network)
    if isinstance(network, MultimodalNetwork):
        logits, features = network(x, present, return_features=True)
        return logits, features.encoder
    if present is not None:
        raise ValueError(f"{type(network).__name__} cannot be told what is present: mark absent modalities in x.")
    skips = _stock_encoder(network)(absence.fill(x))
    decoder: Any = network.decoder
    return decoder(skips), skips


def encoder_features(network: nn.Module, x: torch.Tensor, present: torch.Tensor | None = None) -> list[torch.Tensor]:
    """Return the second item of ``forward_with_encoder_features`` without running the decoder."""
    network = unwrapped(network)
    if isinstance(network, MultimodalNetwork):
        return network.encoder_features(x, present)
    if present is not None:
        return forward_with_encoder_features(network, x, present)[1]  # raises the error
    skips: list[torch.Tensor] = _stock_encoder(network)(absence.fill(x))
    return skips


def _stock_encoder(network: nn.Module) -> Any:
    if not (hasattr(network, "encoder") and hasattr(network, "decoder")):
        raise ValueError(
            f"{type(network).__name__} has no encoder and decoder to take features from: use a teacher whose plans "
            "name PlainConvUNet or ResidualEncoderUNet."
        )
    return network.encoder
