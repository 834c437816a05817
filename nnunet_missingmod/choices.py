"""Every choice of this package, said once: what may be chosen, what is chosen by default, and what goes together.

From here come the checks of the plans' ``"missingmod"`` block and their messages (``plans_block``), the tables in
plans/README.md and docs/trainers.md and the output of ``info`` (``reference``), the names that networks and losses
know, and the table by which nnU-Net finds trainers (``host``). A new choice is an entry here and the code that does it.

Conventions:

- Names land in plans JSON, checkpoints and result folders. They are never renamed once released.
- Something that has kinds is off with the value ``"none"``; something without kinds is off with ``false``.
- A loss term has a key that says whether and how it is used (``switch``) and a key for its weight. A term whose weight
  is 0 is still computed and logged. A term that is off is not computed.
- What contradicts a choice is said beside it (``conflicts``), and when it does nothing (``idle``). A key that is set to
  another value than the trainer's own and does nothing is refused. A teacher alone leaves it to its students, with
  whom it shares its plans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nnunet_missingmod.co_training_choices import CO_TRAINING_KEYS, CO_TRAINING_TERMS
from nnunet_missingmod.distillation_choices import DISTILLATION_KEYS, DISTILLATION_TERMS
from nnunet_missingmod.dropout_choices import DROPOUT_KEYS
from nnunet_missingmod.keys import (
    BELOW_ONE,
    CHANNEL_OR_AUTO,
    COUNT,
    DECAY,
    EXPONENT,
    LEVEL_WEIGHTS,
    NATURAL,
    OFF,
    POSITIVE,
    POSITIVE_SHARE,
    SHARE,
    SWITCH,
    TEACHER,
    WEIGHT,
    Choices,
    Key,
    Term,
    is_none,
    one_of,
)
from nnunet_missingmod.network_choices import ENCODER_LOSS_KEYS, ENCODER_TERMS, NETWORK_KEYS, is_parallel
from nnunet_missingmod.subset_choices import SUBSET_KEYS, SUBSET_TERMS

# Names that networks and losses share with the keys.
OPTIMIZERS = ("sgd", "adam")
SEGMENTATION_LOSSES = ("nnunet", "dice")
ANCHORS = (OFF, "modality", "mixture", "normal")
# The exponents that each divergence has.
DIVERGENCES: Mapping[str, tuple[str, ...]] = {
    "holder_pseudo": ("alpha",),
    "holder_proper": ("alpha", "gamma"),
    "kullback_leibler": (),
    "total_variation": (),
    "squared_hellinger": (),
    "neyman_chi_squared": (),
    "jensen_shannon": (),
}


def _enumerates(choices: Choices) -> bool:
    return bool(choices["subset_objective"] == "enumerate")


def _has_no(exponent: str) -> tuple[Callable[[Choices], bool], str]:
    return (lambda c: exponent not in DIVERGENCES.get(c["divergence"], ()), f"the divergence has no {exponent}")


def _has_no_teacher(choices: Choices) -> bool:
    taught = any(term.is_on(choices) and term.has_teacher(choices) for term in TERMS)
    return not taught and choices["initial_weights"] != "teacher" and choices.get("predict_with") != "average"


# A row per key.
# fmt: off
TRAINING_KEYS: tuple[Key, ...] = (
    Key("num_epochs", None, COUNT, "Number of epochs (nnU-Net: 1000)."),
    Key("num_iterations_per_epoch", None, COUNT, "Training steps per epoch (nnU-Net: 250)."),
    Key("num_val_iterations_per_epoch", None, COUNT,
        "Validation batches per epoch (nnU-Net: 50); `cycle` gives each batch the next subset."),
    Key("save_every", None, COUNT, "Epochs between two `checkpoint_latest` (nnU-Net: 50)."),
    Key("initial_lr", None, POSITIVE, "Learning rate (nnU-Net: 0.01)."),
    Key("momentum", None, BELOW_ONE,
        "Of SGD (nnU-Net: 0.99, which needs many thousands of steps; 0.9 learns faster in short trainings).",
        idle=(lambda c: c.get("optimizer_kind") == "adam", 'optimizer_kind is "adam"')),
    Key("weight_decay", None, WEIGHT, "Of the optimiser (nnU-Net: 3e-5)."),
    Key("oversample_foreground_percent", None, SHARE,
        "Share of a batch's patches that are centred on foreground (nnU-Net: 0.33)."),
    *DROPOUT_KEYS,
)

FILE_KEYS: tuple[Key, ...] = (
    Key("blank_is_absent", True, SWITCH,
        "Whether a file whose voxels all have one value counts as absent (with a warning)."),
    Key("nonfinite", "refuse", one_of("refuse", "zero"),
        "What NaN or infinite voxels of a file do: refuse the case, or become 0 and be counted in its properties."),
    Key("geometry_tolerance_voxels", 0.1, WEIGHT,
        "How far, in voxels, the corners of two modalities of a case may lie apart before the case is refused."),
    Key("nifti_transform", "refuse", one_of("refuse", "sform", "qform"),
        "What a NIfTI file whose sform and qform lie further apart than that does: refuse the case, or be placed by "
        "the one that is trusted."),
    Key("headers", "strict", one_of("strict", "as_read"),
        "What a header that contradicts itself does (spacing against axes, a voxel size of 0): refuse the case, or be "
        "taken as nnU-Net's reader takes it, which is recorded."),
)

MASKING_KEYS: tuple[Key, ...] = (
    Key("masked_share", 0.875, BELOW_ONE,
        "Share of the cubes of a case's modalities that masked pretraining hides; those of dropped modalities count.",
        ((lambda c: c["feature_fusion"] == "region_aware",
          'feature_fusion "region_aware" fuses by regions that are learned from labels, which pretraining has not: '
          'set it to "mean" or "concatenate".'),)),
)

METHOD_KEYS: tuple[Key, ...] = (
    *NETWORK_KEYS,
    *ENCODER_LOSS_KEYS,
    *SUBSET_KEYS,
    Key("optimizer_kind", "sgd", one_of(*OPTIMIZERS), "nnU-Net's SGD with Nesterov momentum, or Adam."),
    Key("deep_supervision", True, SWITCH, "Whether the loss is computed at lower resolutions too, as nnU-Net does."),
    Key("segmentation_loss", "nnunet", one_of(*SEGMENTATION_LOSSES),
        "nnU-Net's Dice and cross-entropy, or the Dice of all voxels of a batch alone.",
        ((lambda c: c["segmentation_loss"] == "dice" and c["deep_supervision"],
          'segmentation_loss "dice" is of one resolution: set deep_supervision to false.'),)),
    Key("subset_objective", "sample", one_of("sample", "enumerate"),
        "Whether a step trains on one subset per case (see `modality_dropout`), or on the mean over all 2^J - 1; the "
        "latter needs the parallel network fused at logits.",
        ((lambda c: _enumerates(c) and not (is_parallel(c) and c["fused_at"] == "logits"),
          'subset_objective "enumerate" fuses logits: set network to "parallel" and fused_at to "logits".'),
         (lambda c: _enumerates(c) and c["modality_dropout"] != OFF,
          'subset_objective "enumerate" trains on every subset already: set modality_dropout to "none".'),)),
    Key("alignment_anchor", OFF, one_of(*ANCHORS),
        "What the alignment term pulls the latents to: nothing, one modality, a learned mixture of those present, or "
        "the standard normal distribution. With a partner they are the partner's latents alone.",
        ((lambda c: c["alignment_anchor"] != OFF and c["channel_encoder"] == OFF,
          'alignment moves latents, and with channel_encoder "none" these are the images, which nothing can move: set '
          'alignment_anchor to "none", or channel_encoder to "shared" or "separate".'),
         (lambda c: c["alignment_anchor"] != OFF and c["channel_encoder"] == "substituting",
          'with channel_encoder "substituting" latents of modalities are made of one another: set alignment_anchor to '
          '"none".'),)),
    Key("anchor_modality", "auto", CHANNEL_OR_AUTO,
        "The anchor of `modality`, and where `mixture` starts; `auto` is FLAIR where there is one, else the first "
        "channel.",
        idle=(lambda c: c["alignment_anchor"] not in ("modality", "mixture"),
              'alignment_anchor is neither "modality" nor "mixture"')),
    Key("alignment_weight", 0.125, WEIGHT, "Weight of the alignment term.", idle=is_none("alignment_anchor")),
    Key("mixture_learning_rate_factor", 0.01, WEIGHT,
        "Learning rate of the mixture's weights in relation to the network's.",
        idle=(lambda c: c["alignment_anchor"] != "mixture", 'alignment_anchor is not "mixture"')),
    Key("divergence", OFF, one_of(OFF, *DIVERGENCES),
        "Divergence between the student's posteriors and those of `divergence_target`."),
    Key("divergence_target", "teacher", one_of("teacher", "label"),
        "The frozen teacher's posteriors, or the one-hot labels.", idle=is_none("divergence")),
    Key("divergence_weight", 1.0, WEIGHT, "Weight of the divergence term.", idle=is_none("divergence")),
    Key("divergence_alpha", 2.0, EXPONENT, "Exponent of the Hölder divergences; the others have none.",
        idle=_has_no("alpha")),
    Key("divergence_gamma", 2.0, POSITIVE, "Power of the proper Hölder divergence.", idle=_has_no("gamma")),
    Key("divergence_temperature", 1.0, POSITIVE,
        "Temperature of student and teacher; the term is scaled by its square. 1 for labels.",
        ((lambda c: c["divergence_target"] == "label" and c["divergence_temperature"] != 1,
          "divergence_temperature softens a teacher: set it to 1 for labels."),), is_none("divergence")),
    Key("mutual_information", OFF, one_of(OFF, "teacher", "self", "partner"),
        "Whose full-modality features the student's are to predict: nobody's, the teacher's, those of the network's "
        'own full path (with `"subset_objective": "enumerate"`), or the partner\'s.',
        ((lambda c: c["mutual_information"] == "self" and not _enumerates(c),
          'mutual_information "self" needs the full path beside the subset: set subset_objective to "enumerate".'),
         (lambda c: c["mutual_information"] == "partner" and not c["partner"],
          'mutual_information "partner" needs one: set partner to true.'))),
    Key("mutual_information_weight", 1.0, WEIGHT, "Weight of the mutual-information term.",
        idle=is_none("mutual_information")),
    Key("mutual_information_level_weights", "depth", LEVEL_WEIGHTS,
        "Share of each encoder level in the term, doubling from level to level with `depth`, all of it the "
        "bottleneck's with `deepest`; weight 0 leaves one out.",
        idle=is_none("mutual_information")),
    Key("distillation_warmup_epochs", 0, NATURAL,
        "Epochs over which the weights of what is learned from a teacher, and of mutual information, grow from 0.",
        idle=(lambda c: not any(term.is_on(c) and term.warms_up(c) for term in TERMS),
              "no term learns from a teacher or by mutual information")),
    *DISTILLATION_KEYS,
    *CO_TRAINING_KEYS,
    Key("teacher", "auto", TEACHER,
        "The full-modality model that teaches: `auto` is nnUNetTrainerMedMAPTeacher with the same dataset, plans, "
        "configuration and fold; `average` is the exponential moving average of the network itself. The environment "
        "variable nnUNet_missingmod_teacher goes before it, except before `average`.",
        idle=(_has_no_teacher, "no term, initial_weights or predict_with uses a teacher")),
    Key("taught_share", 1.0, POSITIVE_SHARE,
        "Share of a batch's samples that the teacher sees and teaches, at least one, others in each step; its cost "
        "falls with it.",
        idle=(lambda c: not any(term.is_on(c) and term.has_teacher(c) for term in TERMS), "no term has a teacher")),
    Key("average_decay", "auto", DECAY,
        "Decay of the average per step; `auto` lets it forget over a fifteenth of the training (0.995 for 3,000 "
        "steps).",
        idle=(lambda c: c["teacher"] != "average", 'teacher is not "average"')),
    Key("predict_with", "network", one_of("network", "average"),
        "Whose weights validate, are saved for prediction and decide on `checkpoint_best`: the network's or its "
        "average's.",
        ((lambda c: c["predict_with"] == "average" and c["teacher"] != "average",
          'predict_with "average" needs teacher "average"; or set it to "network".'),)),
    Key("initial_weights", "random", one_of("random", "teacher"),
        "What the network starts from: nnU-Net's random weights, or those of the teacher, whose network must be built "
        "the same; stock nnU-Net's is that of a student without channel encoder.",
        ((lambda c: c["initial_weights"] == "teacher" and c["teacher"] == "average",
          'teacher "average" starts from the network: set initial_weights to "random".'),)),
)
# fmt: on

COMMON_KEYS: tuple[Key, ...] = TRAINING_KEYS + FILE_KEYS
KEYS: tuple[Key, ...] = COMMON_KEYS + METHOD_KEYS + MASKING_KEYS

# What ``"teacher": "auto"`` stands for.
CONVENTIONAL_TEACHER = "nnUNetTrainerMedMAPTeacher"
# The trainers that are there to teach others.
TEACHERS = (
    "nnUNetTrainerMedMAPTeacher",
    "nnUNetTrainerMedMAPTeacherParallel",
    "nnUNetTrainerPMKLTeacher",
    "nnUNetTrainerPMKLMedMAPTeacher",
)
# What they leave to the students with which they share their plans: subsets, and what is learned from another network.
LEFT_TO_STUDENTS = frozenset(
    [
        *(key.name for key in (*DROPOUT_KEYS, *SUBSET_KEYS, *DISTILLATION_KEYS, *CO_TRAINING_KEYS)),
        *(key.name for key in METHOD_KEYS if key.name.startswith(("divergence", "mutual_information"))),
        *("subset_objective", "distillation_warmup_epochs"),
        *("teacher", "taught_share", "average_decay", "predict_with", "initial_weights"),
    ]
) - {"validation_subsets"}
# Those whose models segment nothing: others start from their weights.
PRETRAINERS = ("nnUNetTrainerMaskedPretraining", "nnUNetTrainerM3AEPretrain")


TERMS: tuple[Term, ...] = (
    Term("alignment", "alignment_anchor", "alignment_weight", "alignment:AlignmentTerm"),
    Term(
        "divergence",
        "divergence",
        "divergence_weight",
        "posterior_divergence:DivergenceTerm",
        has_teacher=lambda c: bool(c["divergence_target"] == "teacher"),
        warms_up=lambda c: bool(c["divergence_target"] == "teacher"),
    ),
    Term(
        "mutual_information",
        "mutual_information",
        "mutual_information_weight",
        "mutual_information:MutualInformationTerm",
        has_teacher=lambda c: bool(c["mutual_information"] == "teacher"),
        warms_up=lambda _: True,
    ),
    *ENCODER_TERMS,
    *DISTILLATION_TERMS,
    *CO_TRAINING_TERMS,
    *SUBSET_TERMS,
)

# What may follow -tr, in the order in which it is listed: title of the group: (module, trainers). A trainer without a
# module of its own name is in the group's.
TRAINERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Baselines": ("trainers.{name}", ("nnUNetTrainerZeroFill", "nnUNetTrainerModalityDropout")),
    "Methods": (
        "trainers.{name}",
        (
            "nnUNetTrainerMedMAPTeacher",
            "nnUNetTrainerHolderMISelf",
            "nnUNetTrainerHolderMI",
            "nnUNetTrainerMedMAP",
            "nnUNetTrainerSharedBackbone",
            "nnUNetTrainerMedMAPTeacherParallel",
            "nnUNetTrainerHolderMIParallel",
            "nnUNetTrainerRDL",
            "nnUNetTrainerRDLReference",
        ),
    ),
    "Families": (
        "trainers.families.{name}",
        (
            "nnUNetTrainerHeMIS",
            "nnUNetTrainerUHVED",
            "nnUNetTrainerRFNet",
            "nnUNetTrainerMMFormer",
            "nnUNetTrainerMMFormerMedMAP",
            "nnUNetTrainerMTI",
            "nnUNetTrainerM3FeCon",
            "nnUNetTrainerDeMoSeg",
            "nnUNetTrainerPMKLTeacher",
            "nnUNetTrainerPMKL",
            "nnUNetTrainerPMKLMedMAPTeacher",
            "nnUNetTrainerPMKLMedMAP",
            "nnUNetTrainerProtoKD",
            "nnUNetTrainerACN",
            "nnUNetTrainerACNMedMAP",
            "nnUNetTrainerSMUNet",
            "nnUNetTrainerGGMD",
            "nnUNetTrainerGGMDLogits",
            "nnUNetTrainerM3AEPretrain",
            "nnUNetTrainerM3AE",
            "nnUNetTrainerShaSpec",
        ),
    ),
    "Pretraining": ("trainers.{name}", ("nnUNetTrainerMaskedPretraining",)),
    "Ablations": (
        "trainers.ablations",
        (
            "nnUNetTrainerHolderMIAnchorModality",
            "nnUNetTrainerHolderMIAnchorNormal",
            "nnUNetTrainerHolderMIAnchorNone",
            "nnUNetTrainerHolderMIEncoderSeparate",
            "nnUNetTrainerHolderMIEncoderNone",
            "nnUNetTrainerHolderMIRandomStart",
            "nnUNetTrainerHolderMIWithoutMI",
            "nnUNetTrainerHolderMIWithoutHolder",
            "nnUNetTrainerHolderMIHolderPseudo",
            "nnUNetTrainerHolderMIKullbackLeibler",
            "nnUNetTrainerHolderMITotalVariation",
            "nnUNetTrainerHolderMISquaredHellinger",
            "nnUNetTrainerHolderMINeymanChiSquared",
            "nnUNetTrainerHolderMIJensenShannon",
            "nnUNetTrainerRDLAlpha105",
            "nnUNetTrainerRDLAlpha108",
            "nnUNetTrainerRDLAlpha115",
            "nnUNetTrainerRDLAlpha120",
        ),
    ),
}
