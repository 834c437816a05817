"""The arms of the study: a trainer, and what its plans block says beyond what all arms share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        trainer: what follows ``-tr``.
        block: keys of the ``"missingmod"`` block.
        teacher: the arm that teaches, of the same seed.
        dedicated_to: channels, for a network that is trained and used on one subset alone.
    """

    trainer: str
    block: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    dedicated_to: tuple[int, ...] | None = None


def _flagship(**block: Any) -> Arm:
    return Arm("nnUNetTrainerHolderMI", {"initial_weights": "teacher"} | block, teacher="MedMAPTeacher")


METHODS = {
    "ZeroFill": Arm("nnUNetTrainerZeroFill"),
    "ModalityDropout": Arm("nnUNetTrainerModalityDropout"),
    "MedMAPTeacher": Arm("nnUNetTrainerMedMAPTeacher"),
    "MedMAP": Arm("nnUNetTrainerMedMAP"),
    "HolderMI": _flagship(),
    "SharedBackbone": Arm("nnUNetTrainerSharedBackbone"),
    "HolderMIParallel": Arm("nnUNetTrainerHolderMIParallel", teacher="MedMAPTeacher"),
    "RDL": Arm("nnUNetTrainerRDL"),
    "Dedicated_T1ce": Arm("nnUNetTrainerZeroFill", dedicated_to=(2,)),
    "Dedicated_FLAIR": Arm("nnUNetTrainerZeroFill", dedicated_to=(0,)),
    "Dedicated_T1_T1ce": Arm("nnUNetTrainerZeroFill", dedicated_to=(1, 2)),
}
ABLATIONS = {
    "MedMAP_anchor_modality": Arm("nnUNetTrainerMedMAP", {"alignment_anchor": "modality"}),
    "MedMAP_anchor_normal": Arm("nnUNetTrainerMedMAP", {"alignment_anchor": "normal"}),
    "MedMAP_anchor_none": Arm("nnUNetTrainerMedMAP", {"alignment_anchor": "none"}),
    "MedMAP_encoder_none": Arm("nnUNetTrainerMedMAP", {"alignment_anchor": "none", "channel_encoder": "none"}),
}
# One choice of the flagship changed.
LEVERS = {
    "mutual_information_none": _flagship(mutual_information="none"),
    "distillation_none": _flagship(divergence="none", mutual_information="none"),
    "divergence_weight_3": _flagship(divergence_weight=3.0),
    "temperature_2": _flagship(divergence_temperature=2.0),
    "pseudo_1.1": _flagship(divergence="holder_pseudo", divergence_alpha=1.1),
    "kullback_leibler": _flagship(divergence="kullback_leibler"),
    "warmup": _flagship(distillation_warmup_epochs=3),
    "uniform_count": _flagship(modality_dropout="uniform_count"),
    "start_random": _flagship(initial_weights="random"),
    "start_random_divergence_none": _flagship(initial_weights="random", divergence="none"),
    "start_random_fill_learned": _flagship(initial_weights="random", absent_fill="learned"),
    "start_random_presence_conditioning": _flagship(initial_weights="random", presence_conditioning=True),
}
# What the teacher's steps could have bought instead.
BUDGET = {"ModalityDropout_twice_as_long": Arm("nnUNetTrainerModalityDropout", {"num_epochs": 20})}
FUSION = {
    "Parallel_features_mean": Arm("nnUNetTrainerSharedBackbone", {"fused_at": "features"}),
    "Parallel_features_attention": Arm(
        "nnUNetTrainerSharedBackbone", {"fused_at": "features", "feature_fusion": "attention"}
    ),
}
ARMS = METHODS | ABLATIONS | LEVERS | BUDGET | FUSION
