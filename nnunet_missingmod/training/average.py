"""The network's own exponential moving average as its teacher (mean teacher).

`method_trainer` makes it, feeds it the batch before modality dropout, and updates it after every step of the optimiser.
Source: Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_missingmod.training.teacher import Teacher

# Steps over which an average of 3,000 steps of batch 8 forgets, in relation to the training: 200 of 3,000.
SPAN = 1 / 15


def average_decay(choice: float | str, num_steps: int) -> float:
    """Return the decay per step; for ``"auto"`` the one whose span 1 / (1 - decay) is a fifteenth of the training.

    Args:
        num_steps: of the whole training.
    """
    return max(0.0, 1 - 1 / (SPAN * num_steps)) if choice == "auto" else float(choice)


class AverageTeacher(Teacher):
    """A copy of the network whose weights follow the network's, step by step::

        average <- d * average + (1 - d) * network,   d = min(decay, (1 + n) / (10 + n)) after n updates

    The growing d lets the average forget the random weights that a training starts from. Running statistics of
    normalisation layers are averaged too; counters are copied. It teaches every sample what the sample has: a case that
    lacks a modality on disk is taught by what the average makes of the others.

    Args:
        network: the one that is trained, neither compiled nor wrapped; it is copied.
        decay: d after the first updates, from 0 up to, not including, 1.
        returns_logits, returns_decoded: see `Teacher`.
    """

    def __init__(
        self, network: nn.Module, *, decay: float, returns_logits: bool = True, returns_decoded: bool = False
    ) -> None:
        copied: Any = deepcopy(network)
        copied.decoder.deep_supervision = False
        source = f"the network's own average (decay {decay:.6g} a step)"
        super().__init__(copied, source, returns_logits=returns_logits, returns_decoded=returns_decoded)
        self.decay = decay
        self.updates = 0

    def counts(self, present: Tensor) -> Tensor:
        """Return (B,) bool: every sample that has a modality is taught."""
        return present.any(dim=1)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network's weights after a step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, values = _tensors(self._network), _tensors(network)
        floating = [index for index, value in enumerate(values) if value.is_floating_point()]
        torch._foreach_lerp_([averages[i] for i in floating], [values[i] for i in floating], 1 - decay)
        for average, value in zip(averages, values, strict=True):
            if not value.is_floating_point():
                average.copy_(value)
        self.updates += 1

    @torch.no_grad()
    def restart(self, network: nn.Module) -> None:
        """Take the network's weights as they are: before the first step, and after weights were loaded into it."""
        for average, value in zip(_tensors(self._network), _tensors(network), strict=True):
            average.copy_(value)
        self.updates = 0

    @torch.no_grad()
    def exchange(self, network: nn.Module) -> None:
        """Exchange the weights of the average and the network."""
        for average, value in zip(_tensors(self._network), _tensors(network), strict=True):
            kept = value.clone()
            value.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return what a training that is continued needs."""
        return {"weights": self._network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what ``state_dict`` returned."""
        self._network.load_state_dict(state["weights"])
        self.updates = state["updates"]


def _tensors(network: nn.Module) -> list[Tensor]:
    # A layer may be registered under several names; these list it once.
    return [*(parameter.data for parameter in network.parameters()), *network.buffers()]
