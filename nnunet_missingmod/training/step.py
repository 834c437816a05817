"""One training step's loss: what network and teacher returned becomes named terms, and those one scalar.

Everything here takes tensors and losses and returns tensors. The trainer (``term_trainer``) decides which losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from nnunet_missingmod.keys import OFF
from nnunet_missingmod.losses.mutual_information import draw_lattice, on_lattice
from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.reduction import weighted_sum
from nnunet_missingmod.losses.term import FullView, PartnerView, Step, StepTerm
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.backbone import Features, Logits, Separately
from nnunet_missingmod.networks.branches import Branches, SubsetOutput
from nnunet_missingmod.networks.decoded import DecodedFeatures
from nnunet_missingmod.networks.decoders import decoders_in
from nnunet_missingmod.networks.fusion import mean_fusion
from nnunet_missingmod.training.all_subsets_step import SurgeryScale, mean_over_subsets

# nnU-Net's loss of an output and its target, either of them a list with deep supervision.
SegmentationLoss = Callable[..., Tensor]


class TeacherOutput(NamedTuple):
    """What a full-modality network returns for the batch before dropout.

    Attributes:
        logits: (B, K, *spatial); None if no term uses them.
        encoder: per level (B, C_k, *spatial_k).
        complete: (B,) bool: samples that have every modality. The others are not taught.
        decoded: (B, C_0, *spatial), the decoder's last features; None if no term uses them.
    """

    logits: Tensor | None
    encoder: list[Tensor]
    complete: Tensor
    decoded: Tensor | None = None


class StepTerms(nn.Module):
    """The terms of a training step, each with its weight; holds what learns beside the network.

    Each term is a submodule under its own name, so that the names of its parameters do not depend on the other terms.

    Attributes:
        surgery, operated_on: of `mean_over_subsets`, set by the trainer; the parameters are the network's.

    Args:
        segmentation: nnU-Net's loss.
        terms: the other terms in use, by name, in the order in which they are logged.
        weights: of each term in use, by name, ``"segmentation"`` among them.
        head: what the logits mean.
        partner: a network that learns beside the one that predicts, if a term wants one.

    Raises:
        ValueError: the weights do not name the terms in use.
    """

    def __init__(
        self,
        segmentation: SegmentationLoss,
        terms: Mapping[str, StepTerm],
        *,
        weights: Mapping[str, float],
        head: Head,
        partner: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.segmentation = segmentation
        # Among these, and not of the network, so that it is in the optimiser and not in the weights that predict.
        self.partner_network = partner
        self.head = head
        self.surgery = OFF
        self.operated_on: Sequence[nn.Parameter] = ()
        self._surgery_scale = SurgeryScale()
        self.names = tuple(terms)
        for name, term in terms.items():
            assert isinstance(term, nn.Module)
            self.add_module(name, term)
        self.levels = tuple(sorted({level for term in terms.values() for level in term.levels}))
        self.uses_decoded = any(term.uses_decoded for term in terms.values())
        self.uses_dropped = any(term.uses_dropped for term in terms.values())
        self.weights = dict(weights)
        self.start_epoch(0)
        used = {"segmentation", *terms}
        if set(weights) != used:
            raise ValueError(f"There must be a weight for each of {sorted(used)}, got {sorted(weights)}.")

    def start_epoch(self, epoch: int) -> None:
        """Begin the epoch's sequence of draws, which a training that is continued repeats."""
        self._rng = np.random.default_rng(epoch)

    def compile_networks(self, **options: Any) -> None:
        """Let the partner and the terms' decoders be compiled, as nnU-Net compiles its network; see ``nn.Module``."""
        partner = self.partner_network
        if partner is not None:
            partner.compile(**options)
        for name in self.names:
            for decoder in decoders_in(self.term(name)):
                decoder.compile(**options)

    def term(self, name: str) -> Any:
        """Return the term of this name, or None where it is not in use."""
        return getattr(self, name) if name in self.names else None

    def forward(
        self,
        output: tuple[Logits, Features] | Branches,
        target: Tensor | list[Tensor],
        teacher: TeacherOutput | None = None,
        decoded: Tensor | None = None,
        complete: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and each term's value, detached.

        Args:
            output: of the network: with its features, for the subset that was sampled; or its branches, for the mean
                over all subsets.
            target: as nnU-Net's loss takes it.
            teacher: for the terms that have one.
            decoded: the decoder's last features, if a term uses them.
            complete: (B, J + E, *spatial), the batch before dropout, for the partner.
        """
        if isinstance(output, Branches):
            return self._over_all_subsets(output, target, teacher)
        logits, features = output
        lattice = self._draw_lattice(features.encoder)
        step = Step(
            logits=_full_resolution(logits),
            target=_full_resolution(target),
            head=self.head,
            present=features.present,
            latents=features.latents,
            encoder=_on_lattice(features.encoder, lattice),
            teacher=_view(teacher, lattice),
            separately=self._with_sampled_gaussians(features.separately),
            fused=features.encoder,
            offers=self._sampled(features.offers, len(features.encoder[0].shape) - 2),
            decoded=decoded,
            partner=self._view_of_partner(complete, lattice),
            targets=[target] if isinstance(target, Tensor) else target,
        )
        terms = {"segmentation": self.segmentation(logits, target)}
        terms |= {name: self.term(name).of_step(step) for name in self.names}
        return weighted_sum(terms, self.weights), _detached(terms)

    def _over_all_subsets(
        self, branches: Branches, target: Tensor | list[Tensor], teacher: TeacherOutput | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean over the subsets, of whose terms those that do not depend on the subset are computed once."""
        present = branches.pairs.present
        lattice = self._draw_lattice(branches.encoder)
        encoder = _on_lattice(branches.encoder, lattice)
        branches = branches._replace(encoder=list(encoder.values()))
        needs_own = any(self.term(name).needs_own for name in self.names)
        own = {
            level: mean_fusion(branches.pairs.scatter(feature.detach()), present)
            for level, feature in (encoder if needs_own else {}).items()
        }
        whole = Step(
            logits=_full_resolution(branches.logits),
            target=_full_resolution(target),
            head=self.head,
            present=present,
            latents=branches.latents,
            encoder=encoder,
            teacher=_view(teacher, lattice),
        )
        of_subset = [name for name in self.names if not self.term(name).once_per_step]
        weights = {name: self.weights[name] for name in ("segmentation", *of_subset)}

        def evaluate(output: SubsetOutput) -> tuple[Tensor, Mapping[str, Tensor]]:
            step = whole._replace(
                logits=_full_resolution(output.logits),
                present=output.present,
                encoder=dict(zip(lattice, output.encoder, strict=True)),
                # Features of the full set have nothing to learn from themselves.
                own=FullView(None, own, (output.present != present).any(1)),
            )
            terms = {"segmentation": self.segmentation(output.logits, target)}
            terms |= {name: self.term(name).of_step(step) for name in of_subset}
            return weighted_sum(terms, weights), terms

        parameters = [parameter for name in of_subset for parameter in self.term(name).parameters()]
        total, values = mean_over_subsets(
            branches,
            all_subsets(present.shape[1]),
            evaluate,
            parameters=parameters,
            surgery=self.surgery,
            network=self.operated_on,
            scale=self._surgery_scale,
            rng=self._rng,
        )
        for name in self.names:
            if name not in of_subset:
                term = self.term(name).of_step(whole)
                total = total + self.weights[name] * term
                values |= _detached({name: term})
        return total, values

    def _view_of_partner(self, complete: Tensor | None, lattice: Mapping[int, tuple[slice, ...]]) -> PartnerView | None:
        if self.partner_network is None:
            return None
        assert complete is not None
        logits, features = self.partner_network(complete)
        outputs = logits if isinstance(logits, Tensor) else list(logits)
        return PartnerView(
            outputs,
            _full_resolution(outputs),
            _on_lattice(features.encoder, lattice),
            features.encoder,
            features.latents,
            features.present,
        )

    def _draw_lattice(self, encoder: list[Tensor]) -> dict[int, tuple[slice, ...]]:
        """Return the voxels of each level in use on which terms about features are estimated in this step."""
        return {level: draw_lattice(encoder[level].shape[2:], self._rng) for level in self.levels}

    def _sampled(self, values: Tensor | None, axes: int) -> Tensor | None:
        """Return the voxels of a lattice of (..., *spatial), of so many axes, on which a mean is estimated."""
        return None if values is None else on_lattice(values, draw_lattice(values.shape[-axes:], self._rng))

    def _with_sampled_gaussians(self, separately: Separately | None) -> Separately | None:
        if separately is None or not separately.gaussians:
            return separately
        sampled = []
        for mean, log_variance in separately.gaussians:
            lattice = draw_lattice(mean.shape[3:], self._rng)
            sampled.append((on_lattice(mean, lattice), on_lattice(log_variance, lattice)))
        return separately._replace(gaussians=sampled)


def _on_lattice(encoder: list[Tensor], lattice: Mapping[int, tuple[slice, ...]]) -> dict[int, Tensor]:
    return {level: on_lattice(encoder[level], voxels) for level, voxels in lattice.items()}


def _view(teacher: TeacherOutput | None, lattice: Mapping[int, tuple[slice, ...]]) -> FullView | None:
    if teacher is None:
        return None
    return FullView(teacher.logits, _on_lattice(teacher.encoder, lattice), teacher.complete, teacher.decoded)


class StepLoss:
    """What stands in the place of nnU-Net's loss: `StepTerms` in training, nnU-Net's own loss in validation.

    Attributes:
        terms: `StepTerms`, or what wraps it for distributed training.
        teacher_output: set by the trainer before each step, for the terms that need it.
        complete: set by the trainer before each step, for a partner: the batch before dropout.
        values: one dict of detached terms per step since the trainer last emptied it.

    Args:
        segmentation: nnU-Net's loss.
        terms: `StepTerms`, or what wraps it.
        decoded: of the network, if a term uses its decoder's last features.
    """

    def __init__(
        self, segmentation: SegmentationLoss, terms: nn.Module, decoded: DecodedFeatures | None = None
    ) -> None:
        self.segmentation = segmentation
        self.terms = terms
        self.decoded = decoded
        self.teacher_output: TeacherOutput | None = None
        self.complete: Tensor | None = None
        self.values: list[dict[str, Tensor]] = []

    def __call__(self, output: Logits | tuple[Logits, Features] | Branches, target: Tensor | list[Tensor]) -> Tensor:
        """Return the loss of what the network returned in training or in evaluation mode."""
        if _is_training_output(output):
            decoded = None if self.decoded is None else self.decoded.take()
            total, values = self.terms(output, target, self.teacher_output, decoded, self.complete)
            self.teacher_output = self.complete = None
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
