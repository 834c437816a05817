"""The choices of networks: their names and keys, as ``choices`` has all others.

From here ``choices`` takes the keys, and the networks know their names.
"""

from __future__ import annotations

from collections.abc import Mapping

from nnunet_missingmod.keys import (
    COUNT,
    OFF,
    SHARE,
    SUBSTITUTION,
    SWITCH,
    WEIGHT,
    Choices,
    Key,
    Term,
    is_false,
    is_none,
    one_of,
)

NETWORKS = ("early", "parallel", "modality_encoders", "stock")
ENCODERS = ("shared", "separate", "slim", "shared_specific")
LATENT_ENCODERS = (OFF, "separate", "shared")
CHANNEL_ENCODERS = (*LATENT_ENCODERS, "substituting")
# Of BraTS: whose features stand in for a modality that is missing, as DeMoSeg's released code has it.
BRATS_SUBSTITUTION: Mapping[str, tuple[str, ...]] = {
    "T1": ("T1ce", "T2", "FLAIR"),
    "T1ce": ("T1", "FLAIR", "T2"),
    "T2": ("FLAIR", "T1", "T1ce"),
    "FLAIR": ("T2", "T1ce", "T1"),
}
ABSENT_FILLS = ("zero", "learned")
FUSED_AT = ("logits", "features")
BOTTLENECKS = (OFF, "tokens", "reconstruction")
AUXILIARIES = (OFF, "unimodal", "unimodal_low")
FEATURE_FUSIONS = ("mean", "attention", "concatenate", "moments", "gated", "region_aware", "gaussian_product")


def is_parallel(choices: Choices) -> bool:
    """Return whether the network is the parallel one."""
    return bool(choices["network"] == "parallel")


def _has_encoders(choices: Choices) -> bool:
    return bool(choices["network"] == "modality_encoders")


def _has_shared_and_specific(choices: Choices) -> bool:
    return _has_encoders(choices) and bool(choices["encoders"] == "shared_specific")


def _fuses_features(choices: Choices) -> bool:
    return _has_encoders(choices) or (is_parallel(choices) and choices["fused_at"] == "features")


# What models were trained with that are older than a key.
BEFORE: Choices = {"encoders": "shared", "bottleneck": OFF, "substitution": "learned", "presence_convolutions": False}

# fmt: off
NETWORK_KEYS: tuple[Key, ...] = (
    Key("network", "early", one_of(*NETWORKS),
        "Modalities side by side in one backbone, the same backbone for each present modality, encoders of modalities "
        "whose levels are fused before one decoder, or the plans' network as stock nnU-Net builds it, with its names "
        "of the weights."),
    Key("encoders", "shared", one_of(*ENCODERS),
        "Of network `modality_encoders`: one for all modalities with normalisation parameters of each, a copy per "
        "modality, a copy per modality with a J-th of the channels, or one for all beside a copy per modality.",
        idle=(lambda c: not _has_encoders(c), 'network is not "modality_encoders"')),
    Key("channel_encoder", OFF, one_of(*CHANNEL_ENCODERS),
        "Convolution before the backbone: none, one per modality, or one for all; or in the place of its first, one "
        "per modality whose features stand in for missing modalities.",
        ((lambda c: c["network"] == "stock" and c["channel_encoder"] != OFF,
          'network "stock" has no channel encoder: set channel_encoder to "none", or network to "early".'),
         (lambda c: c["channel_encoder"] == "substituting" and c["network"] != "early",
          'channel_encoder "substituting" is of network "early".'),)),
    Key("substitution", "learned", SUBSTITUTION,
        "Whose features `substituting` puts in the place of a missing modality's: shares that are learned, the list of "
        "BraTS, or the first present one of your own order.",
        idle=(lambda c: c["channel_encoder"] != "substituting", 'channel_encoder is not "substituting"')),
    Key("channel_encoder_width", 1, COUNT,
        "Latent channels per modality of `separate`; `shared` has as many times the number of modalities.",
        ((lambda c: c["channel_encoder"] == OFF and c["channel_encoder_width"] != 1,
          'channel_encoder "none" has no width: set channel_encoder_width to 1.'),
         (lambda c: c["channel_encoder"] == "substituting" and c["channel_encoder_width"] != 1,
          'channel_encoder "substituting" has the width of the backbone: set channel_encoder_width to 1.'),)),
    Key("absent_fill", "zero", one_of(*ABSENT_FILLS),
        "What the early network puts in place of an absent modality's latent.",
        ((lambda c: (is_parallel(c) or _has_encoders(c)) and c["absent_fill"] != "zero",
          'absent modalities do not run in networks "parallel" and "modality_encoders": set absent_fill to "zero".'),
         (lambda c: c["channel_encoder"] == "substituting" and c["absent_fill"] != "zero",
          'channel_encoder "substituting" fills absent modalities with others: set absent_fill to "zero".'),
         (lambda c: c["network"] == "stock" and c["absent_fill"] != "zero",
          'network "stock" sees zeros in place of absent modalities: set absent_fill to "zero".'),)),
    Key("presence_conditioning", False, SWITCH,
        "Whether normalisation depends on which modalities are absent: of the early network, and of the decoder after "
        "`modality_encoders`.",
        ((lambda c: c["network"] not in ("early", "modality_encoders") and c["presence_conditioning"],
          'presence_conditioning is of networks "early" and "modality_encoders": set it to false.'),)),
    Key("presence_convolutions", False, SWITCH,
        "Whether the early network's convolutions depend on it too.",
        ((lambda c: c["presence_convolutions"] and not (c["network"] == "early" and c["presence_conditioning"]),
          'presence_convolutions is of network "early" with presence_conditioning: set the former to false, or the '
          'latter to true.'),)),
    Key("fused_at", "logits", one_of(*FUSED_AT),
        "Where the parallel network fuses: the mean of the logits, or each level of the encoder before one decoder (as "
        "`modality_encoders` with `shared`).",
        idle=(lambda c: not is_parallel(c), 'network is not "parallel"')),
    Key("feature_fusion", "mean", one_of(*FEATURE_FUSIONS),
        "How levels of encoders are fused: their mean; weighed by attention, with a comparison of modalities; side by "
        "side and reduced; mean and variance; weighed by gates that see all; by regions that are found on the way; or "
        "as a product of Gaussians.",
        ((lambda c: c["feature_fusion"] != "mean" and not _fuses_features(c),
          'feature_fusion needs network "modality_encoders", or "parallel" and fused_at "features"; or set it to '
          '"mean".'),
         (lambda c: _has_encoders(c) and c["encoders"] == "slim" and c["feature_fusion"] in ("mean", "attention"),
          'slim encoders have too few channels each for the mean and attention: set feature_fusion to "concatenate".'),
         )),
    Key("bottleneck", OFF, one_of(*BOTTLENECKS),
        "Attention between the modalities' deepest levels before they are fused: none, of all that are kept, or one "
        "that makes up those that are not.",
        ((lambda c: c["bottleneck"] != OFF and not _fuses_features(c),
          'bottleneck is of network "modality_encoders": set it to "none".'),
         (lambda c: c["bottleneck"] != OFF and _has_shared_and_specific(c),
          'encoders "shared_specific" have a bottleneck of their own: set bottleneck to "none".'))),
)
# Of losses that only some networks have.
ENCODER_LOSS_KEYS: tuple[Key, ...] = (
    Key("channel_divergence", False, SWITCH,
        "Whether what a modality offers in the place of another is to say what that one says of itself.",
        ((lambda c: c["channel_divergence"] and c["channel_encoder"] != "substituting",
          'channel_divergence is of channel_encoder "substituting": set it to false.'),)),
    Key("channel_divergence_weight", 0.5, WEIGHT, "Weight of that divergence.",
        idle=is_false("channel_divergence")),
    Key("reconstruction_weight", 1.0, WEIGHT,
        "Weight of the error of what the bottleneck makes up for dropped modalities.",
        idle=(lambda c: c["bottleneck"] != "reconstruction", 'bottleneck is not "reconstruction"')),
    Key("region_maps_weight", 1.0, WEIGHT,
        "Weight of the loss of the regions that `region_aware` fusion finds.",
        idle=(lambda c: c["feature_fusion"] != "region_aware", 'feature_fusion is not "region_aware"')),
    Key("gaussian_divergence_weight", 0.1, WEIGHT,
        "Weight of the divergences between subsets' products of Gaussians, and from a standard normal one.",
        idle=(lambda c: c["feature_fusion"] != "gaussian_product", 'feature_fusion is not "gaussian_product"')),
    Key("image_reconstruction", False, SWITCH,
        "Whether decoders that prediction does not know reconstruct all images from the fused features.",
        ((lambda c: c["image_reconstruction"] and not _fuses_features(c),
          'image_reconstruction is of network "modality_encoders": set it to false.'),)),
    Key("image_reconstruction_weight", 0.1, WEIGHT, "Weight of the images' mean squared error.",
        idle=is_false("image_reconstruction")),
    Key("shared_distance", False, SWITCH,
        "Whether what the shared encoder makes of modalities is to be equal.",
        ((lambda c: c["shared_distance"] and not _has_shared_and_specific(c),
          'shared_distance is of network "modality_encoders" with encoders "shared_specific": set it to false.'),)),
    Key("shared_distance_weight", 0.1, WEIGHT, "Weight of that term.",
        idle=is_false("shared_distance")),
    Key("domain_classification", False, SWITCH,
        "Whether a linear classifier is to tell the modality of what its own encoder makes of it.",
        ((lambda c: c["domain_classification"] and not _has_shared_and_specific(c),
          'domain_classification is of network "modality_encoders" with encoders "shared_specific": set it to false.'),
         )),
    Key("domain_classification_weight", 0.02, WEIGHT, "Weight of that term.",
        idle=is_false("domain_classification")),
    Key("auxiliary", OFF, one_of(*AUXILIARIES),
        "Whether a decoder that prediction does not know segments from each modality alone, at full resolution or at a "
        "lower one.",
        ((lambda c: c["auxiliary"] != OFF and not _fuses_features(c),
          'auxiliary is of network "modality_encoders": set it to "none".'),)),
    Key("auxiliary_level", 1, COUNT, "Level of `unimodal_low`; 0 would be full resolution.",
        idle=(lambda c: c["auxiliary"] != "unimodal_low", 'auxiliary is not "unimodal_low"')),
    Key("auxiliary_weight", 1.0, WEIGHT, "Weight of the auxiliary term, a sum over modalities.",
        idle=is_none("auxiliary")),
    Key("segmentation_from", 0.0, SHARE,
        "Share of the training before which the loss of the network's own output has weight 0, and the other terms "
        "alone train encoders.",
        idle=is_none("auxiliary")),
)
# fmt: on

ENCODER_TERMS: tuple[Term, ...] = (
    Term(
        "channel_divergence",
        "channel_divergence",
        "channel_divergence_weight",
        "channel_divergence:ChannelDivergenceTerm",
    ),
    Term("auxiliary", "auxiliary", "auxiliary_weight", "auxiliary:UnimodalTerm"),
    Term(
        "reconstruction",
        "bottleneck",
        "reconstruction_weight",
        "reconstruction:ReconstructionTerm",
        kinds=("reconstruction",),
    ),
    Term("shared_distance", "shared_distance", "shared_distance_weight", "shared_specific:SharedDistanceTerm"),
    Term(
        "domain_classification",
        "domain_classification",
        "domain_classification_weight",
        "shared_specific:DomainTerm",
    ),
    Term(
        "region_maps",
        "feature_fusion",
        "region_maps_weight",
        "region_maps:RegionMapsTerm",
        kinds=("region_aware",),
    ),
    Term(
        "gaussian_divergence",
        "feature_fusion",
        "gaussian_divergence_weight",
        "gaussian_divergence:GaussianDivergenceTerm",
        kinds=("gaussian_product",),
    ),
    Term(
        "image_reconstruction",
        "image_reconstruction",
        "image_reconstruction_weight",
        "image_reconstruction:ImageReconstructionTerm",
    ),
)
