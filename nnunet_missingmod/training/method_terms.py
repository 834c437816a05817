"""The loss terms of a method's choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_missingmod.losses.alignment import AnchorAlignmentLoss
from nnunet_missingmod.losses.mutual_information import MutualInformationLoss
from nnunet_missingmod.losses.posterior_divergence import PosteriorDivergenceLoss
from nnunet_missingmod.training.method_choices import anchor_modality, level_weights, term_weights
from nnunet_missingmod.training.step import SegmentationLoss, StepTerms

_EXPONENTS = {"holder_pseudo": ("alpha",), "holder_proper": ("alpha", "gamma")}


def build_terms(
    choices: Mapping[str, Any],
    segmentation: SegmentationLoss,
    *,
    modality_names: Sequence[str],
    encoder_channels: Sequence[int],
    dimensions: int,
    head: str,
    ignore_label: int | None,
) -> StepTerms:
    """Return the terms that ``choices`` describe, at their weights.

    Args:
        choices: the resolved ``"missingmod"`` block.
        segmentation: nnU-Net's loss.
        modality_names: in channel order.
        encoder_channels: of the network's levels, shallowest first; the teacher has the same.
        dimensions: 2 or 3.
        head: ``"softmax"`` or ``"regions"``.
        ignore_label: None if there is none.

    Raises:
        ValueError: a choice is out of its range, or does not fit the network.
    """
    weights = term_weights(choices)
    alignment = divergence = mutual_information = None
    levels: dict[int, float] = {}
    if "alignment" in weights:
        anchor = anchor_modality(choices, modality_names)
        alignment = AnchorAlignmentLoss(choices["alignment_anchor"], modality_names, anchor_modality=anchor)
    if "divergence" in weights:
        divergence = PosteriorDivergenceLoss(
            choices["divergence"],
            head=head,
            temperature=choices["divergence_temperature"],
            **{name: choices[f"divergence_{name}"] for name in _EXPONENTS.get(choices["divergence"], ())},
        )
    if "mutual_information" in weights:
        levels = level_weights(choices, len(encoder_channels))
        channels = [encoder_channels[level] for level in levels]
        mutual_information = MutualInformationLoss(
            channels, channels, dimensions=dimensions, level_weights=list(levels.values())
        )
    return StepTerms(
        segmentation,
        weights=weights,
        alignment=alignment,
        divergence=divergence,
        divergence_target=choices["divergence_target"],
        mutual_information=mutual_information,
        mutual_information_source=choices["mutual_information"],
        levels=list(levels),
        ignore_label=ignore_label,
    )
