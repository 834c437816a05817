"""The first line of a network: absent channels become a constant, after normalisation and before any weight.

It is attached to whatever network the plans name as a forward hook rather than wrapped around it, so that the names of
the weights stay those of the host: checkpoints are interchangeable with stock nnU-Net's in both directions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nnunet_missingmod import absence


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
