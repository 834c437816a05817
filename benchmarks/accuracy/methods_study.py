"""The first study: every method and its choices, with a teacher's steps beside those of its student."""

from __future__ import annotations

from typing import Any

from settings import Arm, Group, Study


def _flagship(teacher: str = "MedMAPTeacher", step: str | None = None, **block: Any) -> Arm:
    return Arm("nnUNetTrainerHolderMI", {"initial_weights": "teacher"} | block, teacher=teacher, step=step)


def _parallel(teacher: str = "MedMAPTeacherParallel", **block: Any) -> Arm:
    return Arm("nnUNetTrainerHolderMIParallel", {"initial_weights": "teacher"} | block, teacher=teacher)


METHODS = {
    "ZeroFill": Arm("nnUNetTrainerZeroFill"),
    "ModalityDropout": Arm("nnUNetTrainerModalityDropout"),
    "MedMAPTeacher": Arm("nnUNetTrainerMedMAPTeacher"),
    "MedMAP": Arm("nnUNetTrainerMedMAP"),
    "HolderMI": _flagship(),
    "SharedBackbone": Arm("nnUNetTrainerSharedBackbone"),
    "MedMAPTeacherParallel": Arm("nnUNetTrainerMedMAPTeacherParallel"),
    "HolderMIParallel": _parallel(),
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
    "mutual_information_weight_0.3": _flagship(mutual_information_weight=0.3),
    "mutual_information_weight_3": _flagship(mutual_information_weight=3.0),
    "mutual_information_deepest": _flagship(mutual_information_level_weights=[0, 0, 0, 1]),
    "mutual_information_equal_levels": _flagship(mutual_information_level_weights=[1, 1, 1, 1]),
    "bernoulli_0.7": _flagship(modality_dropout="bernoulli", modality_dropout_probability=0.7),
    "hard_subsets": _flagship(step="hard_subsets"),
    "two_views": _flagship(step="two_views"),
    "two_views_half_the_steps": _flagship(step="two_views", num_iterations_per_epoch=75),
    "fill_learned": _flagship("Teacher_fill_learned", absent_fill="learned"),
    "presence_conditioning": _flagship("Teacher_presence_conditioning", presence_conditioning=True),
    "anchor_none": _flagship("Teacher_anchor_none", alignment_anchor="none"),
    "encoder_width_2": _flagship("Teacher_encoder_width_2", channel_encoder_width=2),
}
# From a stock nnU-Net that has been trained as usual.
STOCK = {
    "ModalityDropout_pretrained": Arm("nnUNetTrainerModalityDropout", pretrained="ZeroFill"),
    "stock_teacher": Arm("nnUNetTrainerHolderMIEncoderNone", {"initial_weights": "teacher"}, teacher="ZeroFill"),
}
# Teachers whose networks are built as their students' are.
TEACHERS = {
    "Teacher_fill_learned": Arm("nnUNetTrainerMedMAPTeacher", {"absent_fill": "learned"}),
    "Teacher_presence_conditioning": Arm("nnUNetTrainerMedMAPTeacher", {"presence_conditioning": True}),
    "Teacher_anchor_none": Arm("nnUNetTrainerMedMAPTeacher", {"alignment_anchor": "none"}),
    "Teacher_encoder_width_2": Arm("nnUNetTrainerMedMAPTeacher", {"channel_encoder_width": 2}),
}
PARALLEL = {
    "HolderMIParallel_early_teacher": _parallel("MedMAPTeacher", initial_weights="random"),
    "HolderMIParallel_start_random": _parallel(initial_weights="random"),
    "HolderMIParallel_distillation_none": _parallel(divergence="none", mutual_information="none"),
}
# What the teacher's steps could have bought instead, and what more steps buy each.
BUDGET = {
    "ModalityDropout_twice_as_long": Arm("nnUNetTrainerModalityDropout", {"num_epochs": 20}),
    "ModalityDropout_four_times_as_long": Arm("nnUNetTrainerModalityDropout", {"num_epochs": 40}),
    "ZeroFill_twice_as_long": Arm("nnUNetTrainerZeroFill", {"num_epochs": 20}),
    "ZeroFill_four_times_as_long": Arm("nnUNetTrainerZeroFill", {"num_epochs": 40}),
    "HolderMI_twice_as_long": _flagship("Teacher_twice_as_long", num_epochs=20),
    "distillation_none_twice_as_long": _flagship(
        "Teacher_twice_as_long", num_epochs=20, divergence="none", mutual_information="none"
    ),
    "Teacher_twice_as_long": Arm("nnUNetTrainerMedMAPTeacher", {"num_epochs": 20}),
}
FUSION = {
    "Parallel_features_mean": Arm("nnUNetTrainerSharedBackbone", {"fused_at": "features"}),
    "Parallel_features_attention": Arm(
        "nnUNetTrainerSharedBackbone", {"fused_at": "features", "feature_fusion": "attention"}
    ),
}
ARMS = METHODS | ABLATIONS | LEVERS | STOCK | TEACHERS | PARALLEL | BUDGET | FUSION
GROUPS = {
    "methods": Group(tuple(name for name in METHODS if not name.startswith("Dedicated")), "ModalityDropout"),
    "levers": Group(("HolderMI", *LEVERS, "stock_teacher"), "HolderMI"),
    "alignment": Group(("MedMAP", *ABLATIONS), "MedMAP"),
    "parallel": Group(("SharedBackbone", "RDL", "HolderMIParallel", *PARALLEL, *FUSION), "SharedBackbone"),
    "budget": Group(("ModalityDropout", "HolderMI", "ZeroFill", "ModalityDropout_pretrained", *BUDGET), "HolderMI"),
}
STUDY = Study(
    "methods",
    cases=60,
    first_cases=60,
    test_cases=20,
    num_epochs=10,
    suffix=".csv",
    arms=ARMS,
    groups=GROUPS,
    shown=("ZeroFill", "ModalityDropout", "HolderMI"),
)
