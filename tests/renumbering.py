"""Networks whose modalities are in another order, and their weights with them."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.fusion import ConcatenateFusion, MomentsFusion
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.multimodal import MultimodalNetwork

FIRST = "encoder.stages.0.0.convs.0.conv.weight"


def renumbered(network: nn.Module, order: Sequence[int]) -> nn.Module:
    """A copy of a network of plain backbones for other input: its modality i is the given one's modality ``order[i]``.

    Args:
        network: of any kind of the menu; channels after the modalities stay.
        order: a permutation of the modalities.
    """
    other, modalities, order = copy.deepcopy(network), len(order), list(order)
    originals = dict(network.named_parameters())
    if isinstance(network, MultimodalNetwork):
        prefix, encoder = "backbone.", network.channel_encoder
        latents, own_channels = encoder.out_channels, getattr(encoder, "kind", None) == "separate"
        side_by_side = isinstance(network, EarlyFusionNetwork)
        substitutes = getattr(encoder, "kind", None) == "substituting"
        if substitutes and encoder.ranks is not None:
            other.channel_encoder.ranks.copy_(encoder.ranks[order][:, order])
    else:
        prefix, latents, own_channels, side_by_side, substitutes = "", 1, False, True, False
    joined = _joined_inputs(network)

    def blocks(value: torch.Tensor, axis: int, *, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Equal parts of an axis, or of a stretch of it, as the modalities are."""
        stop = value.shape[axis] if stop is None else stop
        before, part, after = value.split([start, stop - start, value.shape[axis] - stop], axis)
        parts = part.unflatten(axis, (modalities, -1)).index_select(axis, torch.tensor(order)).flatten(axis, axis + 1)
        return torch.cat([before, parts, after], axis)

    for key, parameter in other.named_parameters():
        value = parameter.data
        if side_by_side and key == prefix + FIRST:
            value = blocks(value, 1, stop=modalities * latents)
        elif key == prefix + FIRST.replace("weight", "absent_weight"):
            value = blocks(value[order], 2, stop=modalities * latents)
        elif substitutes and key.startswith("channel_encoder."):
            if key.endswith("shares"):
                value = value[order][:, order]
            else:
                value = value.unflatten(0, (modalities, modalities, -1))[order][:, order].flatten(0, 2)
        elif of_modality := re.search(r"\.(encoders|intra)\.(\d)\.", key):
            kind, index = of_modality.groups()
            value = originals[key.replace(f".{kind}.{index}.", f".{kind}.{order[int(index)]}.")].data
        elif re.search(r"\.(inter|block)\.", key):
            pass
        elif key in joined:
            axis, start = joined[key]
            value = blocks(value, axis, start=start)
        elif "compare" in key or "gate" in key or ("reduce" in key and not _reduces_moments(network, key)):
            value = blocks(value, 1)
            value = value[order] if "gate" in key else value
        elif key.endswith(("phi.0.conv.weight", "of_modalities.0.conv.weight")):
            value = blocks(value, 1)
        elif key.endswith("hidden"):
            value = blocks(value, 1, stop=value.shape[1] - 1)
        elif key.endswith("weigh"):
            value = value[..., order]
        elif ".moments." in key:
            value = blocks(value, 0)
        elif (
            key == "bottleneck.positions.values"
            or (own_channels and key.startswith("channel_encoder.conv"))
            or "absent_" in key
            or (value.ndim == 2 and len(value) == modalities)
        ):
            value = value[order]
        parameter.data = value.clone()
    return other


def _reduces_moments(network: nn.Module, key: str) -> bool:
    return isinstance(network.get_submodule(key[: key.index(".reduce")]), MomentsFusion)


def _joined_inputs(network: nn.Module) -> dict[str, tuple[int, int]]:
    """The decoder's weights that take modalities side by side as they are: the axis, and where on it they begin."""
    if not isinstance(network, ModalityEncoderNetwork):
        return {}
    found: dict[str, tuple[int, int]] = {}
    levels = len(network.fusions)
    fusion: Any
    for level, fusion in enumerate(network.fusions):
        if not (isinstance(fusion, ConcatenateFusion) and fusion.reduce is None):
            continue
        if level == levels - 1:
            found["backbone.decoder.transpconvs.0.weight"] = (0, 0)
        else:  # after as many channels that come from below
            found[f"backbone.decoder.stages.{levels - 2 - level}.convs.0.conv.weight"] = (1, fusion.out_channels)
    return found
