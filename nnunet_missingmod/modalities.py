"""Modality names, channels and subsets: the vocabulary that every other module shares.

A modality is an acquisition (T1ce), a channel is its position on the channel axis, a subset is a set of modalities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

Subset = tuple[int, ...]


def channel_names(dataset_json: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the modality names of an nnU-Net ``dataset.json`` in channel order.

    Reads ``channel_names``, or ``modality`` as nnU-Net v1 called it.

    Raises:
        ValueError: there are no channels, their keys are not 0..J-1, or a name occurs twice.
    """
    named = dataset_json.get("channel_names") or dataset_json.get("modality")
    if not named:
        raise ValueError('dataset.json names no channels: add for example "channel_names": {"0": "FLAIR"}.')
    by_channel = {int(key): str(name) for key, name in named.items()}
    if sorted(by_channel) != list(range(len(by_channel))):
        raise ValueError(
            f"channel_names in dataset.json must be numbered 0..{len(by_channel) - 1}, got {sorted(named)}."
        )
    return tuple(by_channel[channel] for channel in range(len(by_channel)))


def all_subsets(num_modalities: int) -> list[Subset]:
    """Return the ``2**J - 1`` non-empty subsets of channels ``0..J-1``, by size, then in lexicographic order.

    Raises:
        ValueError: ``num_modalities`` is below 1.
    """
    if num_modalities < 1:
        raise ValueError(f"A dataset has at least one modality, got {num_modalities}.")
    channels = range(num_modalities)
    return [subset for size in range(1, num_modalities + 1) for subset in combinations(channels, size)]


def subset_name(subset: Sequence[int], names: Sequence[str]) -> str:
    """Return the names of a subset joined by ``+`` in channel order, ``"FLAIR+T1ce"``.

    Raises:
        ValueError: the subset is empty or holds a channel that has no name.
    """
    if not subset or min(subset) < 0 or max(subset) >= len(names):
        raise ValueError(f"A subset holds one or more of the channels 0..{len(names) - 1}, got {tuple(subset)}.")
    return "+".join(names[channel] for channel in sorted(subset))
