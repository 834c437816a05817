"""One training step's loss: what network and teacher returned becomes named terms, and those one scalar.

Pure: tensors and losses in, tensors out. The trainer (``method_trainer``) decides what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from nnunet_missingmod.losses.alignment import AnchorAlignmentLoss
from nnunet_missingmod.losses.mutual_information import MutualInformationLoss, draw_lattice, on_lattice
from nnunet_missingmod.losses.posterior_divergence import PosteriorDivergenceLoss
from nnunet_missingmod.losses.reduction import autocast_off, weighted_sum
from nnunet_missingmod.modalities import Subset, all_subsets
from nnunet_missingmod.networks.backbone import Features, Logits
from nnunet_missingmod.networks.branches import Branches, SubsetOutput, fuse_subsets
from nnunet_missingmod.networks.fusion import mean_fusion

# The loss of a subset's output, and the values that are to be reported beside it.
Evaluate = Callable[[SubsetOutput], tuple[Tensor, Mapping[str, Tensor]]]


def mean_over_subsets(
    branches: Branches, subsets: Sequence[Subset], evaluate: Evaluate, *, parameters: Sequence[nn.Parameter]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean loss over ``subsets``, and the mean of each reported value.

    The gradient is that of the plain mean. It is computed here, in float32 with autocast off: the factor by which mixed
    precision scales a loss is not known before ``backward``, and without it gradients in half precision would vanish.

    Args:
        branches: of a network fused at its logits; a subset's output has the levels of ``branches.encoder``.
        subsets: channels each.
        evaluate: called once per subset.
        parameters: what ``evaluate`` uses beside the branches, and is to have gradients.
    """
    leaves = branches.detached()
    tensors = [*leaves.outputs(), *parameters]
    gradients: list[Tensor | None] = [None] * len(tensors)
    total: Tensor = torch.zeros((), device=leaves.latents.device)
    means: dict[str, Tensor] = {}
    with torch.enable_grad(), autocast_off(leaves.latents):
        for output in fuse_subsets(leaves, subsets, return_features=bool(leaves.encoder)):
            loss, values = evaluate(output)
            for index, gradient in enumerate(torch.autograd.grad(loss, tensors, allow_unused=True)):
                gradients[index] = _add(gradients[index], gradient, 1 / len(subsets))
            total = total + loss.detach() / len(subsets)
            means = {name: means.get(name, 0) + value.detach() / len(subsets) for name, value in values.items()}
    return _Differentiated.apply(total, gradients, *branches.outputs(), *parameters), means


class _Differentiated(torch.autograd.Function):
    """A scalar whose gradients with respect to the inputs are known already; None for those without influence."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor | None], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [tensor.dtype for tensor in inputs]
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (factor,) = outputs
        scaled = [
            None if gradient is None else (factor * gradient).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return None, None, *scaled


def _add(total: Tensor | None, gradient: Tensor | None, factor: float) -> Tensor | None:
    if gradient is None:
        return total
    return gradient * factor if total is None else total.add_(gradient, alpha=factor)


TERM_NAMES = ("segmentation", "alignment", "divergence", "mutual_information")

# nnU-Net's loss of an output and its target, either of them a list with deep supervision.
SegmentationLoss = Callable[..., Tensor]


class TeacherOutput(NamedTuple):
    """What a full-modality network says of the batch before dropout.

    Attributes:
        logits: (B, K, *spatial); None if no term is about them.
        encoder: per level (B, C_k, *spatial_k).
        complete: (B,) bool: samples that have every modality. The teacher's word on the others does not count.
    """

    logits: Tensor | None
    encoder: list[Tensor]
    complete: Tensor


class StepTerms(nn.Module):
    """The terms of a training step, each at its weight; holds what learns beside the network.

    Args:
        segmentation: nnU-Net's loss.
        weights: of each term in use, by name; ``"segmentation"`` always, the others where their loss is given.
        alignment: of the latents.
        divergence: of the posteriors from ``divergence_target``, ``"teacher"`` or ``"label"``.
        mutual_information: with the features of ``mutual_information_source``, ``"teacher"`` or ``"self"``.
        levels: the encoder levels that ``mutual_information`` is about.
        ignore_label: its value in the target of a softmax head; for regions the target's last channel marks it.

    Raises:
        ValueError: the weights do not name the terms in use.
    """

    def __init__(
        self,
        segmentation: SegmentationLoss,
        *,
        weights: Mapping[str, float],
        alignment: AnchorAlignmentLoss | None = None,
        divergence: PosteriorDivergenceLoss | None = None,
        divergence_target: str = "teacher",
        mutual_information: MutualInformationLoss | None = None,
        mutual_information_source: str = "teacher",
        levels: Sequence[int] = (),
        ignore_label: int | None = None,
    ) -> None:
        super().__init__()
        self.segmentation = segmentation
        self.alignment = alignment
        self.divergence = divergence
        self.divergence_target = divergence_target
        self.mutual_information = mutual_information
        self.mutual_information_source = mutual_information_source
        self.levels = tuple(levels)
        self.ignore_label = ignore_label
        self.weights = dict(weights)
        self.start_epoch(0)
        used = {name for name in TERM_NAMES if getattr(self, name) is not None}
        if set(weights) != used:
            raise ValueError(f"There must be a weight for each of {sorted(used)}, got {sorted(weights)}.")

    def start_epoch(self, epoch: int) -> None:
        """Begin the epoch's sequence of draws, which a training that is continued repeats."""
        self._rng = np.random.default_rng(epoch)

    def forward(
        self,
        output: tuple[Logits, Features] | Branches,
        target: Tensor | list[Tensor],
        teacher: TeacherOutput | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and each term's value, detached.

        Args:
            output: of the network: with its features, for the subset that was sampled; or its branches, for the mean
                over all subsets.
            target: as nnU-Net's loss takes it.
            teacher: for the terms that have one.
        """
        if isinstance(output, Branches):
            return self._over_all_subsets(output, target, teacher)
        logits, features = output
        terms = {"segmentation": self.segmentation(logits, target)}
        if self.alignment is not None:
            terms["alignment"] = self.alignment(features.latents, features.present)
        if self.divergence is not None:
            terms["divergence"] = self._divergence(logits, target, teacher)
        if self.mutual_information is not None:
            assert teacher is not None
            lattices = self._draw_lattices(features.encoder)
            terms["mutual_information"] = self.mutual_information(
                self._select(features.encoder, lattices),
                self._select(teacher.encoder, lattices),
                sample_weights=teacher.complete,
            )
        return weighted_sum(terms, self.weights), _detached(terms)

    def _over_all_subsets(
        self, branches: Branches, target: Tensor | list[Tensor], teacher: TeacherOutput | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        present = branches.pairs.present
        lattices = self._draw_lattices(branches.encoder)
        branches = branches._replace(encoder=self._select(branches.encoder, lattices))
        full = [] if teacher is None else self._select(teacher.encoder, lattices)
        if self.mutual_information_source == "self":
            full = [mean_fusion(branches.pairs.scatter(level.detach()), present) for level in branches.encoder]
        weights = {name: weight for name, weight in self.weights.items() if name != "alignment"}

        def evaluate(output: SubsetOutput) -> tuple[Tensor, Mapping[str, Tensor]]:
            terms = {"segmentation": self.segmentation(output.logits, target)}
            if self.divergence is not None:
                terms["divergence"] = self._divergence(output.logits, target, teacher)
            if self.mutual_information is not None:
                if self.mutual_information_source == "self":
                    # Features of the full set have nothing to learn from themselves.
                    counted = (output.present != present).any(1)
                else:
                    assert teacher is not None
                    counted = teacher.complete
                terms["mutual_information"] = self.mutual_information(output.encoder, full, sample_weights=counted)
            return weighted_sum(terms, weights), terms

        heads = [] if self.mutual_information is None else list(self.mutual_information.parameters())
        total, values = mean_over_subsets(branches, all_subsets(present.shape[1]), evaluate, parameters=heads)
        if self.alignment is not None:
            alignment = self.alignment(branches.latents, present)
            total = total + self.weights["alignment"] * alignment
            values |= _detached({"alignment": alignment})
        return total, values

    def _divergence(self, logits: Logits, target: Tensor | list[Tensor], teacher: TeacherOutput | None) -> Tensor:
        assert self.divergence is not None
        logits = _full_resolution(logits)
        labels, valid = self._labels(_full_resolution(target))
        if self.divergence_target == "label":
            value: Tensor = self.divergence(logits, labels=labels, valid=valid)
        else:
            assert teacher is not None
            assert teacher.logits is not None
            value = self.divergence(logits, teacher_logits=teacher.logits, valid=valid, sample_weights=teacher.complete)
        return value

    def _labels(self, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the labels and where they count, (B, 1, *spatial); None for everywhere."""
        assert self.divergence is not None
        if self.ignore_label is None:
            return target, None
        if self.divergence.head == "regions":
            return target[:, :-1], ~target[:, -1:].bool()
        return target, target != self.ignore_label

    def _draw_lattices(self, encoder: list[Tensor]) -> list[tuple[slice, ...]]:
        """Return the voxels of each level in use on which this step's mutual information is estimated."""
        return [draw_lattice(encoder[level].shape[2:], self._rng) for level in self.levels]

    def _select(self, encoder: list[Tensor], lattices: Sequence[tuple[slice, ...]]) -> list[Tensor]:
        return [on_lattice(encoder[level], lattice) for level, lattice in zip(self.levels, lattices, strict=True)]


class StepLoss:
    """What stands in the place of nnU-Net's loss: `StepTerms` in training, nnU-Net's own loss in validation.

    Attributes:
        terms: `StepTerms`, or what wraps it for distributed training.
        teacher_output: set by the trainer before each step, for the terms that need it.
        values: one dict of detached terms per step since the trainer last emptied it.
    """

    def __init__(self, segmentation: SegmentationLoss, terms: nn.Module) -> None:
        self.segmentation = segmentation
        self.terms = terms
        self.teacher_output: TeacherOutput | None = None
        self.values: list[dict[str, Tensor]] = []

    def __call__(self, output: Logits | tuple[Logits, Features] | Branches, target: Tensor | list[Tensor]) -> Tensor:
        """Return the loss of what the network returned in training or in evaluation mode."""
        if _is_training_output(output):
            total, values = self.terms(output, target, self.teacher_output)
            self.teacher_output = None
            self.values.append(values)
        else:
            total = self.segmentation(output, target)
        loss: Tensor = total
        return loss


def _is_training_output(
    output: Logits | tuple[Logits, Features] | Branches,
) -> TypeGuard[tuple[Logits, Features] | Branches]:
    # Not by the type of the logits: a compiled network may return its list of outputs as a tuple.
    return isinstance(output, Branches) or isinstance(output[-1], Features)


def mean_values(values: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Return the mean of each term over the steps; one transfer from the device per term."""
    return {name: float(torch.stack([step[name].float() for step in values]).mean()) for name in values[0]}


def _detached(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.detach() for name, term in terms.items()}


def _full_resolution(outputs: Tensor | list[Tensor]) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[0]
