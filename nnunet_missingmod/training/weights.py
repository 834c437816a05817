"""The weights of a checkpoint: whether they are numbers, and whether they are those of a network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from nnunet_missingmod.errors import listed

# What DistributedDataParallel and torch.compile put in front of the names of weights; nnU-Net saves without.
_WRAPPERS = ("module.", "_orig_mod.")
_listed = partial(listed, most=3, rest="{} more")


class WeightsError(ValueError):
    """Weights cannot be used; the message says why, and what to do."""


def check_finite(weights: Mapping[str, Any]) -> None:
    """Check that no weight is NaN or infinite: such a network predicts background everywhere.

    Raises:
        WeightsError: some are.
    """
    bad = [name for name, value in weights.items() if torch.is_tensor(value) and not value.isfinite().all()]
    if bad:
        raise WeightsError(
            f"weights are NaN or infinite ({_listed(bad)}), so the training diverged or the file was changed; "
            "an earlier checkpoint (checkpoint_best.pth) may be good."
        )


def load_weights(network: nn.Module, weights: Mapping[str, Any]) -> None:
    """Load the weights of a checkpoint into a network.

    Raises:
        WeightsError: they are not this network's; it names the first three that differ.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        expected = network.state_dict()
        for prefix in _WRAPPERS:
            if weights and all(name.startswith(prefix) for name in weights):
                raise WeightsError(
                    f'the names of all weights begin with "{prefix}", which a wrapper of the network put there. Save '
                    "the checkpoint again with names that lack it."
                ) from error
        wrong = [f"{name} is not in the checkpoint" for name in expected if name not in weights]
        wrong += [f"{name} is not in the network" for name in weights if name not in expected]
        wrong += [
            f"{name} has shape {tuple(weights[name].shape)} instead of {tuple(value.shape)}"
            for name, value in expected.items()
            if name in weights and weights[name].shape != value.shape
        ]
        raise WeightsError(
            f"the weights are not those of the network that plans.json describes ({_listed(wrong)}). Put plans.json "
            "and the checkpoint of one training and configuration together."
        ) from error
