"""Small networks for missing modalities: right ones, and ones with the faults that are found in public code.

J = 3 modalities, 2D. Those that take a mask are fed by ``masked``; the others read NaN as the mark of absence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

J, SIZE, WIDTH = 3, 6, 4


def over(present: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """``present`` (B, J) in a shape that broadcasts over (B, J, ...)."""
    return present.reshape(*present.shape, *[1] * (values.ndim - 2))


def randomised(network: nn.Module) -> nn.Module:
    """The network in double precision, no parameter of which is 0 or 1 by its initialisation."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.double()


class MaskedMean(nn.Module):
    """Right: an encoder per modality, the mean over those that are present, and a decoder."""

    def __init__(self, *, dimensions: int = 2, num_modalities: int = J) -> None:
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        self.encoders = nn.ModuleList(conv(1, WIDTH, 3, padding=1) for _ in range(num_modalities))
        self.decoder = conv(WIDTH, 2, 1)

    def clean(self, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        return torch.where(over(present, images), images, 0.0)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """(B, J, W, *spatial)."""
        return torch.stack([torch.relu(e(images[:, j : j + 1])) for j, e in enumerate(self.encoders)], dim=1)

    def weights(self, present: torch.Tensor) -> torch.Tensor:
        return present / present.sum(1, keepdim=True).clamp(min=1)

    def forward(self, images: torch.Tensor, present: torch.Tensor) -> Any:
        features = self.encode(self.clean(images, present))
        return self.decoder((features * over(self.weights(present), features)).sum(1))


class ListOfOutputs(MaskedMean):
    def forward(self, images, present):
        logits = super().forward(images, present)
        return [logits, logits[..., ::2, ::2]]


class TupleOfOutputs(MaskedMean):
    def forward(self, images, present):
        return super().forward(images, present), {"present": present, "number": 3, "nothing": None}


class DictOfOutputs(MaskedMean):
    def forward(self, images, present):
        logits = super().forward(images, present)
        return {"logits": logits, "labels": logits.argmax(1), "loss": logits.new_zeros(())}


class ReadsTheMark(nn.Module):
    """Right: reads NaN as the mark, and convolves all modalities at once with zeros in place of absent ones."""

    def __init__(self, num_modalities: int = J) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_modalities, 2, 3, padding=1)

    def forward(self, images):
        present = ~images.isnan().flatten(2).any(2)
        return self.conv(torch.where(over(present, images), images, 0.0))


class ByName(nn.Module):
    """Right: takes the present modalities by name, each with its own encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({str(j): nn.Conv2d(1, 2, 3, padding=1) for j in range(J)})

    def forward(self, given: Mapping[int, torch.Tensor]):
        return torch.stack([self.encoders[str(j)](image) for j, image in given.items()]).mean(0)


class ByPosition(ByName):
    """Wrong: takes names, and looks the encoder up by the position in the list."""

    def forward(self, given):
        return torch.stack([self.encoders[str(j)](image) for j, image in enumerate(given.values())]).mean(0)


class FilledAfterNormalisation(MaskedMean):
    """Wrong: normalises over all channels, absent ones among them, and fills zeros in afterwards."""

    def clean(self, images, present):
        images = (images - images.mean((1, 2, 3), keepdim=True)) / images.std((1, 2, 3), keepdim=True)
        return torch.where(over(present, images), images, 0.0)


class BiasOfAbsent(MaskedMean):
    """Wrong: zeros in place of absent modalities, whose encoders' biases then take part in the mean."""

    def weights(self, present):
        return torch.full(present.shape, 1 / J, dtype=torch.float64)


class ProductWithMask(MaskedMean):
    """Wrong where absent channels may hold NaN or infinity: 0 times NaN is NaN."""

    def clean(self, images, present):
        return images * over(present, images)


class MaskOfWholeBatch(MaskedMean):
    """Wrong: a modality is used only if every sample of the batch has it."""

    def weights(self, present):
        return super().weights(present.all(0, keepdim=True).expand_as(present) | ~present.any(1, keepdim=True))


class MaskOfFirstSample(MaskedMean):
    """Wrong: the mask of the first sample is taken for all."""

    def weights(self, present):
        return super().weights(present[:1].expand_as(present))


class BatchNormed(MaskedMean):
    """Wrong in training: what one sample lacks changes how the others are normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(WIDTH)
        self.decoder = nn.Sequential(self.norm, self.decoder)


class DividedByTheBatch(MaskedMean):
    """Wrong: the output depends on the number of samples, and on nothing else of them."""

    def forward(self, images, present):
        return super().forward(images, present) / len(images)


class RandomFill(MaskedMean):
    """Wrong: fills noise in at prediction, too."""

    def clean(self, images, present):
        return torch.where(over(present, images), images, torch.randn_like(images))

    def weights(self, present):
        return torch.full(present.shape, 1 / J, dtype=torch.float64)


class Remembering(MaskedMean):
    """Wrong: fills in what the case before it had."""

    before: torch.Tensor | None = None

    def clean(self, images, present):
        filling = torch.zeros_like(images) if self.before is None else self.before.expand_as(images)
        self.before = torch.where(over(present, images), images, 0.0)[:1].detach()
        return torch.where(over(present, images), images, filling)

    def weights(self, present):
        return torch.full(present.shape, 1 / J, dtype=torch.float64)


class CountingInABuffer(MaskedMean):
    """Wrong: running statistics go on in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running", torch.ones(1))

    def forward(self, images, present):
        features = self.encode(self.clean(images, present))
        fused = (features * over(self.weights(present), features)).sum(1)
        self.running.mul_(0.9).add_(0.1 * fused.detach().std())
        return self.decoder(fused / self.running)


class DeadBranch(MaskedMean):
    """Wrong: modality 1 is cut off from what follows."""

    def encode(self, images):
        features = super().encode(images)
        return torch.stack([features[:, 0], features[:, 1].detach(), features[:, 2]], dim=1)


class StraightThrough(MaskedMean):
    """Wrong in the gradient alone: zeros are filled in, and the gradient goes past them."""

    def clean(self, images, present):
        return torch.where(over(present, images), images, images - images.detach())

    def weights(self, present):
        return torch.full(present.shape, 1 / J, dtype=torch.float64)


class DividedByNothing(MaskedMean):
    """Wrong: without any modality the mean is 0 / 0."""

    def weights(self, present):
        return present / present.sum(1, keepdim=True)


class RefusesNothing(MaskedMean):
    """Right: says in words that there is no modality."""

    def forward(self, images, present):
        if not present.any(1).all():
            raise ValueError("A case has no modality at all: give at least one file.")
        return super().forward(images, present)


class AttentionOverAbsent(MaskedMean):
    """Wrong: a token per modality, all of which attend to one another; absent ones are taken out afterwards."""

    cleans = False

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def clean(self, images, present):
        return super().clean(images, present) if self.cleans else images

    def encode(self, images):
        features = super().encode(images)
        tokens = features.mean((3, 4))
        shares = (self.query(tokens) @ self.key(tokens).transpose(1, 2)).softmax(-1)
        return torch.einsum("bjk,bkwxy->bjwxy", shares, features)


class AttentionOverFillings(AttentionOverAbsent):
    """Wrong: the same with zeros in place of absent modalities, whose tokens are constants that are attended to."""

    cleans = True


class NeedsTwoSamples(MaskedMean):
    """Right in evaluation; in training it cannot be run on this input at all."""

    def forward(self, images, present):
        if self.training and len(images) < 100:
            raise RuntimeError("contrastive heads need 100 samples")
        return super().forward(images, present)


class DropsInTraining(MaskedMean):
    """Right: in training it drops one modality of each sample at random, if that leaves another."""

    def weights(self, present):
        if self.training:
            drawn = torch.rand(present.shape, device=present.device) * present
            kept = present & (drawn < drawn.amax(1, keepdim=True))
            present = torch.where(kept.any(1, keepdim=True), kept, present)
        return super().weights(present)
