"""Posteriors of a segmentation head: log-probabilities of logits, class indices of labels, and voxel weights.

The losses that compare posteriors with each other or with labels are built on it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nnunet_missingmod.losses.reduction import at_least_float32

HEADS = ("softmax", "regions")


class Head(NamedTuple):
    """The meaning of logits (B, K, *spatial).

    Attributes:
        kind: ``"softmax"`` for K exclusive classes, ``"regions"`` for K independent regions.
        ignore_label: None if there is no ignore label. For a softmax head it is the value of ignored voxels in the
            target. For regions the target's last channel marks the ignored voxels.
    """

    kind: str
    ignore_label: int | None = None

    def labels(self, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the labels without the ignore label, and the voxels that are not ignored.

        Args:
            target: as nnU-Net's loss takes it: classes (B, 1, *spatial), or regions (B, K, *spatial) with one more
                channel if there is an ignore label.

        Returns:
            The labels, and a bool array (B, 1, *spatial) that is true for voxels that are not ignored; None instead of
            the array if there is no ignore label.
        """
        if self.ignore_label is None:
            return target, None
        if self.kind == "regions":
            return target[:, :-1], ~target[:, -1:].bool()
        return target, target != self.ignore_label


def check_head(head: str, temperature: float = 1.0) -> None:
    """Check a head and a temperature.

    Raises:
        ValueError: the head is unknown, or the temperature is not positive and finite.
    """
    if head not in HEADS:
        raise ValueError(f"There is no head called {head!r}; choose one of {', '.join(HEADS)}.")
    if not 0 < temperature < math.inf:
        raise ValueError(f"A temperature is above 0, got {temperature}: 1 leaves the posteriors as they are.")


def log_posterior(logits: Tensor, head: str, temperature: float = 1.0) -> Tensor:
    """Return log-probabilities of ``logits / temperature``, in float32 or wider, with the class axis at 1.

    For a softmax head they are (B, C, *spatial). For regions they are the pair (p, 1 - p) of each region,
    (B, 2, R, *spatial).
    """
    logits = at_least_float32(logits)
    if temperature != 1:
        logits = logits / temperature
    if head == "softmax":
        return torch.log_softmax(logits, dim=1)
    return torch.stack((functional.logsigmoid(logits), functional.logsigmoid(-logits)), dim=1)


def class_index(labels: Tensor, logits: Tensor, head: str, weights: Tensor | None) -> Tensor:
    """Return the label's index on the class axis of `log_posterior`; the index is 0 for voxels of weight 0.

    Args:
        labels: softmax head: class indices, (B, *spatial) or (B, 1, *spatial). Regions head: zeros and ones, of the
            logits' shape.
        weights: as `voxel_weights` returns them.

    Raises:
        ValueError: the shape does not fit the logits.
    """
    if head == "regions":
        if labels.shape != logits.shape:
            raise ValueError(f"Region labels must have shape {tuple(logits.shape)}, got {tuple(labels.shape)}.")
        return 1 - zero_uncounted(labels, weights).long()  # index 0, p, is for voxels inside of the region
    labels = with_channel_axis(labels, logits, "Labels")
    return zero_uncounted(labels, weights).squeeze(1).long()


def zero_uncounted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return ``values`` with zeros where the weight is 0, so that no value there, not even NaN, has an effect."""
    return values if weights is None else torch.where(weights > 0, values, 0)


def voxel_weights(logits: Tensor, valid: Tensor | None, sample_weights: Tensor | None) -> Tensor | None:
    """Return the voxels' weights, broadcastable to (B, 1, *spatial), or None if all weights are 1."""
    weights = None
    if valid is not None:
        weights = at_least_float32(with_channel_axis(valid, logits, "valid"))
    if sample_weights is not None:
        if sample_weights.shape != logits.shape[:1]:
            raise ValueError(
                f"sample_weights must have shape {tuple(logits.shape[:1])}, got {tuple(sample_weights.shape)}."
            )
        per_sample = at_least_float32(sample_weights).view(-1, *[1] * (logits.dim() - 1))
        weights = per_sample if weights is None else weights * per_sample
    return weights


def with_channel_axis(values: Tensor, logits: Tensor, name: str) -> Tensor:
    """Return values of shape (B, *spatial) or (B, 1, *spatial) as (B, 1, *spatial)."""
    spatial = logits.shape[2:]
    batch = logits.shape[:1]
    if values.shape == (*batch, *spatial):
        return values.unsqueeze(1)
    if values.shape == (*batch, 1, *spatial):
        return values
    raise ValueError(
        f"{name} must have shape {(*batch, *spatial)}, or that with a channel axis of size 1, "
        f"got {tuple(values.shape)}."
    )
