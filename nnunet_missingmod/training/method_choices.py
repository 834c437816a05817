"""Which choices of the ``"missingmod"`` block go together, and what ``"auto"`` stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def check_choices(choices: Mapping[str, Any], modality_names: Sequence[str]) -> None:
    """Refuse choices that contradict one another, before anything is built.

    Raises:
        ValueError: names the choices and what to set.
    """
    parallel = choices["network"] == "parallel"
    enumerates = choices["subset_objective"] == "enumerate"
    for contradicts, message in (
        (
            enumerates and not (parallel and choices["fused_at"] == "logits"),
            'subset_objective "enumerate" fuses logits: set network to "parallel" and fused_at to "logits".',
        ),
        (
            enumerates and choices["modality_dropout"] != "none",
            'subset_objective "enumerate" trains on every subset already: set modality_dropout to "none".',
        ),
        (
            choices["mutual_information"] == "self" and not enumerates,
            'mutual_information "self" needs the full path beside the subset: set subset_objective to "enumerate".',
        ),
        (
            choices["feature_fusion"] != "mean" and not (parallel and choices["fused_at"] == "features"),
            'feature_fusion needs network "parallel" and fused_at "features".',
        ),
        (
            parallel and choices["absent_fill"] != "zero",
            'absent modalities have no branch in network "parallel": set absent_fill to "zero".',
        ),
        (
            parallel and choices["presence_conditioning"],
            'presence_conditioning is of network "early": set it to false.',
        ),
        (
            choices["channel_encoder"] == "none" and choices["channel_encoder_width"] != 1,
            'channel_encoder "none" has no width: set channel_encoder_width to 1.',
        ),
        (
            choices["divergence_target"] == "label" and choices["divergence_temperature"] != 1,
            "divergence_temperature softens a teacher: set it to 1 for labels.",
        ),
    ):
        if contradicts:
            raise ValueError(f'"missingmod" block of the plans: {message}')
    anchor_modality(choices, modality_names)


def anchor_modality(choices: Mapping[str, Any], modality_names: Sequence[str]) -> str:
    """Return the anchor modality's name; ``"auto"`` is FLAIR where there is one, else the first channel.

    FLAIR is the paper's choice for BraTS.

    Raises:
        ValueError: there is no such channel.
    """
    chosen: str = choices["anchor_modality"]
    if chosen == "auto":
        return next((name for name in modality_names if "flair" in name.lower()), modality_names[0])
    if chosen not in modality_names:
        raise ValueError(
            f'"missingmod" block of the plans: anchor_modality must be one of {", ".join(modality_names)}, '
            f"got {chosen!r}."
        )
    return chosen


def taught_terms(choices: Mapping[str, Any]) -> list[str]:
    """Return the names of the terms that learn from a frozen teacher; none if there is no need of one."""
    from_teacher = {
        "divergence": choices["divergence"] != "none" and choices["divergence_target"] == "teacher",
        "mutual_information": choices["mutual_information"] == "teacher",
    }
    return [name for name, is_taught in from_teacher.items() if is_taught]


def term_weights(choices: Mapping[str, Any]) -> dict[str, float]:
    """Return the weight of each term in use, after warm-up."""
    weights = {"segmentation": 1.0}
    if choices["alignment_anchor"] != "none":
        weights["alignment"] = choices["alignment_weight"]
    for term in ("divergence", "mutual_information"):
        if choices[term] != "none":
            weights[term] = choices[f"{term}_weight"]
    return weights


def level_weights(choices: Mapping[str, Any], num_levels: int) -> dict[int, float]:
    """Return {encoder level: share} of the levels that the mutual-information term is about.

    Raises:
        ValueError: there are not as many weights as levels.
    """
    chosen = choices["mutual_information_level_weights"]
    weights = [2.0**level for level in range(num_levels)] if chosen == "depth" else list(chosen)
    if len(weights) != num_levels:
        raise ValueError(
            f'"missingmod" block of the plans: mutual_information_level_weights must name the {num_levels} encoder '
            f"levels of this configuration, got {weights}."
        )
    return {level: weight for level, weight in enumerate(weights) if weight > 0}
