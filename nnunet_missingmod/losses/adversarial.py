"""Adversarial terms of co-training: a discriminator is to tell the network's maps from its partner's, and fails.

Source: Wang et al., ACN: Adversarial Co-training Network for Brain Tumor Segmentation with Missing Modalities, MICCAI
2021. In the released code the maps are made of sigmoids' softmax, so that a discriminator sees almost nothing, and its
optimiser is new at every step; here maps are of logits, and the optimiser is kept and saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional

from nnunet_missingmod.losses.posteriors import log_posterior
from nnunet_missingmod.losses.reduction import autocast_off
from nnunet_missingmod.losses.term import Setting, Step, StepTerm

_LEARNING_RATE, _BETAS = 1e-4, (0.9, 0.99)


def weighted_self_information(logits: Tensor, head: str) -> Tensor:
    """Return ``-p log p`` of each class, over the largest entropy there is, ln K; (B, K, *spatial).

    Of regions it is the entropy of each, over ln 2.

    Source: ACN, section 2.2.
    """
    log_p = log_posterior(logits, head)
    information = -log_p.exp() * log_p
    if head == "regions":
        return information.sum(1) / torch.log(torch.tensor(2.0))
    return information / torch.log(torch.tensor(float(logits.shape[1])))


def fooling_loss(discriminator: nn.Module, maps: Tensor) -> Tensor:
    """Return ``BCE(D(maps), 0)``, the mean over D's outputs: how far they are from being taken for the partner's."""
    return _cross_entropy(discriminator(maps), 0.0)


def build_discriminator(
    inputs: int, widths: Sequence[int], kernel: int, dimensions: int, *, strides: Sequence[int]
) -> nn.Sequential:
    """Return convolutions of these strides with leaky ReLU of slope 0.2 between them; the last has one channel."""
    convolution: Any = nn.Conv2d if dimensions == 2 else nn.Conv3d
    layers: list[nn.Module] = []
    for index, (width, stride) in enumerate(zip(widths, strides, strict=True)):
        layers.append(convolution(inputs, width, kernel, stride=stride, padding=kernel // 2))
        if index < len(widths) - 1:
            layers.append(nn.LeakyReLU(0.2))
        inputs = width
    return nn.Sequential(*layers)


class AdversarialTerm(nn.Module, StepTerm):
    """`fooling_loss` of the network's maps.

    The discriminator learns first, from both maps without a gradient to either::

        L_D = (BCE(D(partner's map), 0) + BCE(D(network's map), 1)) / 2

    by Adam of its own, whose state is saved with the discriminator. Several processes average its gradients.

    Args:
        discriminator: takes the maps.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        # The trainer's optimiser takes what requires a gradient.
        self.discriminator = discriminator.requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), _LEARNING_RATE, betas=_BETAS)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the discriminator's optimiser, for ``state_dict``."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take what ``get_extra_state`` returned."""
        self.optimizer.load_state_dict(state)

    def of_step(self, step: Step) -> Tensor:
        """Let the discriminator learn, and return what the network is to lower."""
        with autocast_off(step.logits):
            ours, theirs = self.maps(step)
            if torch.is_grad_enabled():
                self._learn(ours.detach(), theirs.detach())
            return fooling_loss(self.discriminator, ours)

    def maps(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return what is compared, of the network and of its partner."""
        raise NotImplementedError

    def _learn(self, ours: Tensor, theirs: Tensor) -> None:
        parameters = list(self.discriminator.parameters())
        for parameter in parameters:
            parameter.requires_grad_(True)
        loss = (_cross_entropy(self.discriminator(theirs), 0.0) + _cross_entropy(self.discriminator(ours), 1.0)) / 2
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(gradient)
                gradient /= dist.get_world_size()
            parameter.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.discriminator.requires_grad_(False)


class EntropyAdversarialTerm(AdversarialTerm):
    """On maps of `weighted_self_information`."""

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> EntropyAdversarialTerm:
        """Return the term with a new discriminator of four convolutions and one, all of stride 2."""
        assert setting.num_outputs is not None
        widths = (64, 128, 256, 512, 1)
        return cls(build_discriminator(setting.num_outputs, widths, 4, setting.dimensions, strides=(2,) * 5))

    def maps(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return the self-information of both networks' logits."""
        assert step.partner is not None
        ours, theirs = (
            weighted_self_information(each.float(), step.head.kind) for each in (step.logits, step.partner.logits)
        )
        return ours, theirs


class KnowledgeAdversarialTerm(AdversarialTerm):
    """On the deepest features."""

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> KnowledgeAdversarialTerm:
        """Return the term with a new discriminator of two convolutions and one, which alone has stride 2."""
        widths = (256, 512, 1)
        inputs = setting.encoder_channels[-1]
        return cls(build_discriminator(inputs, widths, 3, setting.dimensions, strides=(1, 1, 2)))

    def maps(self, step: Step) -> tuple[Tensor, Tensor]:
        """Return both networks' features at the bottleneck."""
        assert step.partner is not None
        return step.fused[-1].float(), step.partner.fused[-1].float()


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
