"""The interface between losses and trainers: how a term of the training loss is built and what it gets of a step.

A trainer describes each training step by a ``Step``; every term in use computes a scalar from it. ``choices.TERMS``
lists the terms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.networks.backbone import Separately
from nnunet_missingmod.networks.decoders import DecoderDesign


class Setting(NamedTuple):
    """The dataset and network for which a term is built.

    Attributes:
        modality_names: the J names in channel order.
        encoder_channels: the number of channels C_k of each encoder level, full resolution first; a teacher has the
            same.
        dimensions: 2 or 3.
        head: the meaning of the logits.
        decoder: how the network's decoder is built, of a network of modality encoders; else None.
        segmentation: nnU-Net's loss at one resolution.
        supervised: nnU-Net's loss, with deep supervision if the network has it.
        num_outputs: K, classes or regions.
    """

    modality_names: tuple[str, ...]
    encoder_channels: tuple[int, ...]
    dimensions: int
    head: Head
    decoder: DecoderDesign | None = None
    segmentation: Callable[[Tensor, Tensor], Tensor] | None = None
    supervised: Callable[..., Tensor] | None = None
    num_outputs: int | None = None


class FullView(NamedTuple):
    """The output of a network that gets every modality of a case: the frozen teacher, or the network itself.

    Attributes:
        logits: (B, K, *spatial) at full resolution, detached; None if no term uses them.
        encoder: {level: (B, C_k, voxels of the step's lattice)}, detached, for the levels that a term uses.
        counts: (B,) bool, the samples that a term compares with it: of the teacher, those that have all modalities; of
            the network itself, those whose step used fewer modalities than they have.
        decoded: (B, C_0, *spatial), its decoder's last features, detached; None if no term uses them.
    """

    logits: Tensor | None
    encoder: Mapping[int, Tensor]
    counts: Tensor
    decoded: Tensor | None = None


class PartnerView(NamedTuple):
    """The output of the network that learns beside the one that predicts, for all modalities of a case, with its graph.

    Attributes:
        outputs: logits (B, K, *spatial), or the list of them with deep supervision.
        logits: those at full resolution.
        encoder: {level: (B, C_k, voxels of the step's lattice)} for the levels that a term uses.
        fused: per level, full resolution first, (B, C_k, *spatial_k), what its decoder got.
        latents: (B, J, C, *spatial), its channel encoder's output.
        present: (B, J) bool, what it saw.
    """

    outputs: Tensor | list[Tensor]
    logits: Tensor
    encoder: Mapping[int, Tensor]
    fused: Sequence[Tensor]
    latents: Tensor
    present: Tensor


class Step(NamedTuple):
    """One training step, for one subset of each sample's modalities.

    Attributes:
        logits: (B, K, *spatial) at full resolution.
        target: the labels at full resolution, as nnU-Net gives them; ``head.labels(target)`` removes the ignore label.
        head: the meaning of the logits.
        present: (B, J) bool, the modalities that the logits were computed from.
        latents: (B, J, C, *spatial), the channel encoder's output, of all modalities that the network got in this step.
        encoder: {level: (B, C_k, voxels of the step's lattice)} for the levels that a term uses.
        teacher: the frozen teacher's output for the batch before dropout; None without a teacher.
        own: the network's own output for all modalities; None if the step does not compute it.
        separately: each modality's features, of a network of modality encoders; else None. Of ``gaussians`` it has the
            voxels of a lattice.
        offers: (B, J, J, w, voxels of a lattice), of a substituting first stage; else None.
        fused: per level, full resolution first, (B, C_k, *spatial_k), what the decoder got, of all voxels.
        decoded: (B, C_0, *spatial), the decoder's last features; None if no term uses them.
        partner: the output of the network that learns beside this one; None if there is none.
        targets: the labels at every resolution of deep supervision, full resolution first.
    """

    logits: Tensor
    target: Tensor
    head: Head
    present: Tensor
    latents: Tensor
    encoder: Mapping[int, Tensor]
    teacher: FullView | None = None
    own: FullView | None = None
    separately: Separately | None = None
    fused: Sequence[Tensor] = ()
    targets: Sequence[Tensor] = ()
    offers: Tensor | None = None
    decoded: Tensor | None = None
    partner: PartnerView | None = None


class StepTerm:
    """A loss that can be built from the choices in the plans and computed from a ``Step``; a mixin for ``nn.Module``.

    Attributes:
        levels: the encoder levels that it uses.
        once_per_step: true if it depends on neither logits nor encoder levels, and so not on the subset. A step that
            goes through all subsets evaluates it once.
        needs_own: whether it uses ``Step.own``, which is computed only in a step that goes through all subsets.
        uses_teacher_logits: whether it uses the logits of ``Step.teacher``. If no term does, the teacher's decoder does
            not run.
        uses_decoded: whether it uses the decoder's last features.
        uses_dropped: whether it learns from modalities that were dropped from the logits; a network of modality
            encoders then encodes them too.
    """

    levels: tuple[int, ...] = ()
    once_per_step = False
    needs_own = False
    uses_teacher_logits = False
    uses_decoded = False
    uses_dropped = False

    @classmethod
    def from_choices(cls, choices: Mapping[str, Any], setting: Setting) -> StepTerm:
        """Return the term that the resolved ``"missingmod"`` block describes.

        Raises:
            ValueError: a choice does not fit the setting.
        """
        raise NotImplementedError

    def of_step(self, step: Step) -> Tensor:
        """Return the term's value, a scalar with a graph."""
        raise NotImplementedError
