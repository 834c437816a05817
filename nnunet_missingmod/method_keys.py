"""Keys of the ``"missingmod"`` block for trainers that build their own network and loss (``training.method_trainer``).

Names land in plans JSON and are never renamed.
"""

from __future__ import annotations

from nnunet_missingmod.plans_keys import Key, is_count, is_natural, is_number, is_weight, one_of

METHOD_KEYS: tuple[Key, ...] = (
    Key(
        "network",
        "early",
        '"early" or "parallel"',
        one_of("early", "parallel"),
        "Modalities side by side in one backbone, or the same backbone for each present modality.",
    ),
    Key(
        "channel_encoder",
        "none",
        '"none", "separate" or "shared"',
        one_of("none", "separate", "shared"),
        "Convolution before the backbone: none, one per modality, or one for all.",
    ),
    Key(
        "channel_encoder_width",
        1,
        "integer, at least 1",
        is_count,
        "Latent channels per modality of `separate`; `shared` has as many times the number of modalities.",
    ),
    Key(
        "absent_fill",
        "zero",
        '"zero" or "learned"',
        one_of("zero", "learned"),
        "What the early network puts in place of an absent modality's latent.",
    ),
    Key(
        "presence_conditioning",
        False,
        "true or false",
        lambda v: isinstance(v, bool),
        "Whether the early network's normalisation depends on which modalities are absent.",
    ),
    Key(
        "fused_at",
        "logits",
        '"logits" or "features"',
        one_of("logits", "features"),
        "Where the parallel network fuses: the mean of the logits, or each level of the encoder before one decoder.",
    ),
    Key(
        "feature_fusion",
        "mean",
        '"mean" or "attention"',
        one_of("mean", "attention"),
        "How the parallel network fuses features.",
    ),
    Key(
        "subset_objective",
        "sample",
        '"sample" or "enumerate"',
        one_of("sample", "enumerate"),
        "Whether a step trains on one subset per case (see `modality_dropout`), or on the mean over all 2^J - 1; the "
        "latter needs the parallel network fused at logits.",
    ),
    Key(
        "alignment_anchor",
        "none",
        '"none", "modality", "mixture" or "normal"',
        one_of("none", "modality", "mixture", "normal"),
        "What the alignment term pulls the latents to: nothing, one modality, a learned mixture of those present, or "
        "the standard normal distribution.",
    ),
    Key(
        "anchor_modality",
        "auto",
        'channel name, or "auto"',
        lambda v: isinstance(v, str),
        "The anchor of `modality`, and where `mixture` starts; `auto` is FLAIR where there is one, else the first "
        "channel.",
    ),
    Key("alignment_weight", 0.125, "number, at least 0", is_weight, "Weight of the alignment term."),
    Key(
        "mixture_learning_rate_factor",
        0.01,
        "number, at least 0",
        is_weight,
        "Learning rate of the mixture's weights in relation to the network's.",
    ),
    Key(
        "divergence",
        "none",
        '"none", "holder_pseudo", "holder_proper", "kullback_leibler", "total_variation", "squared_hellinger", '
        '"neyman_chi_squared" or "jensen_shannon"',
        one_of(
            "none",
            "holder_pseudo",
            "holder_proper",
            "kullback_leibler",
            "total_variation",
            "squared_hellinger",
            "neyman_chi_squared",
            "jensen_shannon",
        ),
        "Divergence between the student's posteriors and those of `divergence_target`.",
    ),
    Key(
        "divergence_target",
        "teacher",
        '"teacher" or "label"',
        one_of("teacher", "label"),
        "The frozen teacher's posteriors, or the one-hot labels.",
    ),
    Key("divergence_weight", 1.0, "number, at least 0", is_weight, "Weight of the divergence term."),
    Key(
        "divergence_alpha",
        2.0,
        "number above 0, not 1",
        lambda v: is_number(v) and v > 0 and v != 1,
        "Exponent of the Hölder divergences; the others have none.",
    ),
    Key(
        "divergence_gamma",
        2.0,
        "number above 0",
        lambda v: is_number(v) and v > 0,
        "Power of the proper Hölder divergence.",
    ),
    Key(
        "divergence_temperature",
        1.0,
        "number above 0",
        lambda v: is_number(v) and v > 0,
        "Temperature of student and teacher; the term is scaled by its square. 1 for labels.",
    ),
    Key(
        "mutual_information",
        "none",
        '"none", "teacher" or "self"',
        one_of("none", "teacher", "self"),
        "Whose full-modality features the student's are to predict: nobody's, the teacher's, or those of the network's "
        'own full path (with `"subset_objective": "enumerate"`).',
    ),
    Key("mutual_information_weight", 1.0, "number, at least 0", is_weight, "Weight of the mutual-information term."),
    Key(
        "mutual_information_level_weights",
        "depth",
        '"depth", or a list of numbers of at least 0, one per encoder level, shallowest first',
        lambda v: v == "depth" or (isinstance(v, list) and len(v) > 0 and all(map(is_weight, v)) and sum(v) > 0),
        "Share of each encoder level in the term, doubling from level to level with `depth`; weight 0 leaves one out.",
    ),
    Key(
        "distillation_warmup_epochs",
        0,
        "integer, at least 0",
        is_natural,
        "Epochs over which the weights of the divergence from a teacher and of mutual information grow from 0.",
    ),
    Key(
        "teacher",
        "auto",
        '"auto", the name of a trainer, or the path of a model folder',
        lambda v: isinstance(v, str) and v != "",
        "The full-modality model that teaches: `auto` is nnUNetTrainerMedMAPTeacher with the same dataset, plans, "
        "configuration and fold. The environment variable nnUNet_missingmod_teacher goes before it.",
    ),
    Key(
        "initial_weights",
        "random",
        '"random" or "teacher"',
        one_of("random", "teacher"),
        "What the network starts from: nnU-Net's random weights, or those of the teacher, whose network must be built "
        "the same; stock nnU-Net's is that of a student without channel encoder.",
    ),
)
