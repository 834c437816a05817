"""The second study: every arm has the same number of steps in all, teachers and pretraining counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from settings import BY_AVERAGE, Arm, Group, Study

NO_ENCODER = {"channel_encoder": "none", "alignment_anchor": "none"}
EPOCHS = 20
# The candidates that were chosen.
REPORTED = ("average_presence_adapters",)


def at_length(name: str, length: int) -> str:
    """Return what an arm is called that trains so many times as long."""
    return name if length == 1 else f"{name}_x{length}"


def _medmap(**block: Any) -> Arm:
    return Arm("nnUNetTrainerMedMAP", {"presence_conditioning": True, **block})


def _average(**block: Any) -> Arm:
    """A training that its own average teaches, with presence conditioning of the norms alone."""
    return Arm("nnUNetTrainerHolderMISelf", {"presence_convolutions": False, **block})


def _by_average(**block: Any) -> Arm:
    """The same, and the weights of the average are scored too."""
    return replace(_average(**block), scored_by_average=True)


def _to_choose_from(arms: dict[str, Arm]) -> dict[str, Arm]:
    return {name: replace(arm, splits=("val", "test") if name in REPORTED else ("val",)) for name, arm in arms.items()}


def _pretraining(epochs: int, **block: Any) -> Arm:
    return Arm("nnUNetTrainerMaskedPretraining", {"num_epochs": epochs, "presence_convolutions": False, **block})


def _pretrained(pretraining: str, epochs: int, *, whole: bool = False, **block: Any) -> Arm:
    return replace(_average(num_epochs=epochs, **block), pretrained=pretraining, pretrained_whole=whole)


def _probe(pretrained: str | None) -> Arm:
    """The output's layers alone, 300 steps."""
    probe = _medmap(alignment_anchor="none", num_epochs=2)
    return replace(probe, step="probe", pretrained=pretrained, pretrained_whole=True)


def _teacher(length: int = 1, **block: Any) -> Arm:
    return Arm("nnUNetTrainerMedMAPTeacher", {"num_epochs": length * EPOCHS // 2, **block}, splits=("val",))


def _flagship(length: int = 1, **block: Any) -> Arm:
    """Half of the steps are its teacher's, which is the same network."""
    teacher = "teacher_half_presence" if block else "teacher_half"
    return Arm("nnUNetTrainerHolderMI", _teacher(length, **block).block, teacher=at_length(teacher, length))


METHODS = {
    "dropout": Arm("nnUNetTrainerModalityDropout"),
    "zero_fill": Arm("nnUNetTrainerZeroFill"),
    "medmap": _medmap(presence_conditioning=False),
    "teacher_half": _teacher(),
    "flagship": _flagship(),
    "average": _by_average(presence_conditioning=False),
    "average_presence": _by_average(),
    "medmap_presence": _medmap(),
    "dropout_presence": _medmap(**NO_ENCODER),
}
SLIM = {"network": "modality_encoders", "encoders": "slim", "feature_fusion": "concatenate"}
CANDIDATES = _to_choose_from(
    {
        # Parts of MedMAP
        "average_presence_anchor_none": _average(alignment_anchor="none"),
        "average_presence_encoder_none": _average(**NO_ENCODER),
        # Parts of what the average teaches
        "average_presence_divergence_none": _average(divergence="none"),
        "average_presence_mutual_information_none": _average(mutual_information="none"),
        # The average, relative to the default: a memory of a fifteenth of the steps
        "average_presence_decay_0.98": _by_average(average_decay=0.98),
        "average_presence_decay_0.99": _by_average(average_decay=0.99),
        "average_presence_decay_0.999": _by_average(average_decay=0.999),
        "average_presence_late": _average(distillation_warmup_epochs=EPOCHS // 4),
        # Complete cases first
        "average_presence_curriculum": _average(modality_dropout_until=0.5),
        "medmap_presence_curriculum": _medmap(modality_dropout_until=0.5),
        "average_presence_curriculum_late": _average(modality_dropout_from=0.25, modality_dropout_until=0.5),
        "average_presence_complete_first": _average(modality_dropout_from=0.5, modality_dropout_until=0.5),
        "average_presence_adapters_complete_first": _average(
            modality_dropout_from=0.5, modality_dropout_until=0.5, presence_convolutions=True
        ),
        "average_presence_adapters_complete_third": _average(
            modality_dropout_from=0.33, modality_dropout_until=0.33, presence_convolutions=True
        ),
        "teacher_half_presence": _teacher(presence_conditioning=True),
        "flagship_presence": _flagship(presence_conditioning=True),
        # Complete cases more often: the number of modalities is drawn first
        "average_presence_uniform_count": _average(modality_dropout="uniform_count"),
        # Wider
        "average_presence_width_2": _average(channel_encoder_width=2),
        "medmap_presence_width_2": _medmap(channel_encoder_width=2),
        # An encoder for each modality, with a quarter of the channels, and a decoder that knows what is present
        "average_slim": _average(**NO_ENCODER, **SLIM),
        "medmap_slim": _medmap(**NO_ENCODER, **SLIM),
        # Forms of presence conditioning
        "average_presence_subset": replace(_average(), presence="subset"),
        "average_presence_fast": replace(_average(), presence="fast"),
        "average_presence_adapters": _average(presence_convolutions=True),
        "average_presence_adapters_coarse": replace(_average(), presence="coarse"),
        "average_presence_adapters_taught_half": _average(presence_convolutions=True, taught_share=0.5),
        "medmap_presence_adapters": _medmap(presence_convolutions=True),
        "average_presence_adapters_width_2": _average(channel_encoder_width=2, presence_convolutions=True),
        "average_presence_kernels": replace(_average(), presence="kernels"),
        "average_presence_in_encoder": replace(_average(), presence="encoder"),
        "average_presence_in_decoder": replace(_average(), presence="decoder"),
        # Two subsets of a case in one batch
        "average_presence_ranking": replace(_average(two_subsets=True), step="ranking"),
        "average_presence_consistency": replace(_average(two_subsets=True), step="consistency"),
        "medmap_presence_ranking": replace(_medmap(two_subsets=True), step="ranking"),
        "medmap_presence_consistency": replace(_medmap(two_subsets=True), step="consistency"),
    }
)
# What nnUNetTrainerHolderMISelf is taught by its average.
AVERAGE = {
    "teacher": "average",
    "divergence": "holder_proper",
    "divergence_target": "teacher",
    "mutual_information": "teacher",
}
# RFNet without its decoder for each modality, where the trainer is HeMIS's.
REGION_AWARE = {"feature_fusion": "region_aware", "modality_dropout": "uniform"}
# Parts of other papers' systems on top of what was chosen, and on top of a slim network.
SUBSTITUTING = {"channel_encoder": "substituting", "channel_divergence": True, "alignment_anchor": "none"}
PARTS = _to_choose_from(
    {
        "average_presence_adapters_gated": _average(presence_convolutions=True, gated_distillation=True),
        "average_presence_adapters_prototype": _average(presence_convolutions=True, prototype=True),
        "average_presence_adapters_substituting": _average(presence_convolutions=True, **SUBSTITUTING),
        "average_slim_reconstruction": _average(**NO_ENCODER, **SLIM, bottleneck="reconstruction"),
        # A decoder that segments from each modality alone, with the average, and what RFNet has without it
        "average_slim_unimodal": _average(**NO_ENCODER, **SLIM, auxiliary="unimodal"),
        "rfnet_average": Arm("nnUNetTrainerRFNet", AVERAGE),
        "rfnet_auxiliary_none": Arm("nnUNetTrainerHeMIS", REGION_AWARE),
        # Its fusion with encoders that cost less
        "shared_region_aware": Arm("nnUNetTrainerHeMIS", {"encoders": "shared", **REGION_AWARE}),
        "slim_region_aware": Arm("nnUNetTrainerHeMIS", {"encoders": "slim", **REGION_AWARE}),
        "average_slim_region_aware": _average(**NO_ENCODER, **(SLIM | {"feature_fusion": "region_aware"})),
    }
)
SCORED_BY_AVERAGE = tuple(
    f"{name}{BY_AVERAGE}" for name, arm in (METHODS | CANDIDATES).items() if arm.scored_by_average
)
# Masked pretraining for a part of the steps, and what is in its features.
PRETRAINING = _to_choose_from(
    {
        "pretraining_half": _pretraining(10, optimizer_kind="sgd"),
        "pretraining_half_adam": _pretraining(10, optimizer_kind="adam", initial_lr=1e-3),
        "pretraining_quarter_adam": _pretraining(5, optimizer_kind="adam", initial_lr=1e-3),
        "average_presence_half": _average(num_epochs=10),
        "pretrained_whole_half": _pretrained("pretraining_half", 10, whole=True),
        "pretrained_whole_half_adam": _pretrained("pretraining_half_adam", 10, whole=True),
        "pretrained_half": _pretrained("pretraining_half", 10),
        "pretrained_half_adam": _pretrained("pretraining_half_adam", 10),
        "pretrained_quarter_adam": _pretrained("pretraining_quarter_adam", 15),
        "probe_random": _probe(None),
        "probe_pretrained": _probe("pretraining_half"),
        "probe_pretrained_adam": _probe("pretraining_half_adam"),
        "probe_average_presence": _probe("average_presence_half"),
    }
)
# Other papers' systems, their teachers and pretraining counted. Ramps of 20 of 300 epochs are 1 of 20 here.
RAMP = {"consistency_ramp_epochs": 1}
HALF = {"num_epochs": EPOCHS // 2}
FAMILIES = {
    "hemis": Arm("nnUNetTrainerHeMIS"),
    "uhved": Arm("nnUNetTrainerUHVED"),
    "rfnet": Arm("nnUNetTrainerRFNet"),
    "mmformer": Arm("nnUNetTrainerMMFormer"),
    "mmformer_medmap": Arm("nnUNetTrainerMMFormerMedMAP"),
    "mti": Arm("nnUNetTrainerMTI"),
    "m3fecon": Arm("nnUNetTrainerM3FeCon"),
    "demoseg": Arm("nnUNetTrainerDeMoSeg"),
    "demoseg_brats": Arm("nnUNetTrainerDeMoSeg", {"substitution": "brats"}),
    "demoseg_kl_none": Arm("nnUNetTrainerDeMoSeg", {"channel_divergence": False}),
    "pmkl_teacher": Arm("nnUNetTrainerPMKLTeacher", HALF, splits=("val",)),
    "pmkl": Arm("nnUNetTrainerPMKL", HALF, teacher="pmkl_teacher"),
    "pmkl_medmap_teacher": Arm("nnUNetTrainerPMKLMedMAPTeacher", HALF, splits=("val",)),
    "pmkl_medmap": Arm("nnUNetTrainerPMKLMedMAP", HALF, teacher="pmkl_medmap_teacher"),
    "zero_fill_half": Arm("nnUNetTrainerZeroFill", HALF, splits=("val",)),
    "protokd": Arm("nnUNetTrainerProtoKD", HALF, teacher="zero_fill_half"),
    "acn": Arm("nnUNetTrainerACN", RAMP),
    "acn_medmap": Arm("nnUNetTrainerACNMedMAP", RAMP),
    "smunet": Arm("nnUNetTrainerSMUNet", RAMP),
    "ggmd": Arm("nnUNetTrainerGGMD"),
    "ggmd_logits": Arm("nnUNetTrainerGGMDLogits"),
    "m3ae_pretraining": Arm("nnUNetTrainerM3AEPretrain", HALF | {"initial_lr": 1e-3}),
    "m3ae": Arm("nnUNetTrainerM3AE", HALF, pretrained="m3ae_pretraining"),
    "shaspec": Arm("nnUNetTrainerShaSpec"),
}
# Of the parallel network in 3D, in the memory of stock nnU-Net with 32 features and whole phantoms as patches: half as
# wide in half of the voxels, as planned for four modalities, or a quarter as wide in all.
PLANNED = {
    "parallel_wide": Arm(
        "nnUNetTrainerSharedBackbone", plan={"features_per_stage": [16, 32, 64, 128], "patch_size": [32, 40, 32]}
    ),
    "parallel_narrow": Arm(
        "nnUNetTrainerSharedBackbone", plan={"features_per_stage": [8, 16, 32, 64], "patch_size": [40, 48, 40]}
    ),
}
LENGTHS = (1, 2, 4, 8)
LENGTHENED = {
    name: (METHODS | CANDIDATES)[name]
    for name in ("dropout", "zero_fill", "average", "average_presence", "average_presence_adapters")
}
# The memory of the average at four times the length: as long a part of the training as at once, or as many steps.
MEMORY = _to_choose_from(
    {
        "average_presence_adapters_x4_decay_0.995": _average(
            presence_convolutions=True, num_epochs=4 * EPOCHS, average_decay=0.995
        )
    }
)
SCALING = {
    at_length(name, length): replace(
        arm,
        block={**arm.block, "num_epochs": length * EPOCHS},
        splits=("val", "test"),
        scored_by_average=False,
    )
    for length in LENGTHS[1:]
    for name, arm in LENGTHENED.items()
} | {
    at_length(name, length): build(length)
    for length in LENGTHS[1:]
    for name, build in (("teacher_half", _teacher), ("flagship", _flagship))
}
# The same trainings again, scored while they run.
FOLLOWED = {
    f"{name}_followed": replace(arm, followed=True, scored_by_average=False)
    for name, arm in (METHODS | CANDIDATES | SCALING).items()
    if name.removesuffix("_x4") in ("dropout", "zero_fill", "average_presence_adapters")
}
STUDY = Study(
    "equal_budgets",
    cases=84,
    first_cases=60,
    test_cases=100,
    num_epochs=EPOCHS,
    suffix=".csv.gz",
    arms=METHODS | CANDIDATES | PARTS | PRETRAINING | FAMILIES | PLANNED | SCALING | MEMORY | FOLLOWED,
    groups={
        "equal budgets": Group((*METHODS, *REPORTED, *SCORED_BY_AVERAGE, "dedicated"), "dropout"),
        "pretraining": Group(
            ("average_presence", *(name for name, arm in PRETRAINING.items() if arm.segments)), "average_presence"
        ),
        "families": Group(
            ("dropout", "average_presence", *(name for name, arm in FAMILIES.items() if arm.segments)), "dropout"
        ),
        "candidates": Group(("average_presence", "medmap_presence", *CANDIDATES), "average_presence"),
        "parts": Group(("average_presence_adapters", "average_slim", *PARTS), "average_presence_adapters"),
        "planned": Group(("dropout", *PLANNED), "dropout"),
        "memory": Group(("average_presence_adapters_x4", *MEMORY), "average_presence_adapters_x4"),
    },
    shown=("zero_fill", "dropout", "average_presence", "dedicated"),
)
