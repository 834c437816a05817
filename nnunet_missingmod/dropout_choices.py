"""The choices of which modalities cases are shown in training and its validation, as ``choices`` has all others."""

from __future__ import annotations

from nnunet_missingmod.keys import (
    BELOW_ONE,
    CHANNELS_OR_ALL,
    NATURAL,
    OFF,
    SHARE,
    SUBSET_WEIGHTS,
    Choices,
    Key,
    one_of,
    one_of_or_probabilities,
)

MODALITY_DROPOUTS = ("uniform", "uniform_count", "bernoulli")


def _has_pattern(choices: Choices) -> bool:
    return choices["modality_subsets"] != OFF or isinstance(choices["modality_dropout"], dict)


def _is_fixed(choices: Choices) -> bool:
    return bool(choices["modality_subset"] != "all")


def _drops_nothing(choices: Choices) -> bool:
    return bool(choices["modality_dropout"] == OFF) or _is_fixed(choices)


_NOTHING_IS_DROPPED = f'nothing is dropped with modality_dropout "{OFF}", nor with a modality_subset'
_IS_FIXED = "modality_subset shows every case the same modalities"


# fmt: off
DROPOUT_KEYS: tuple[Key, ...] = (
    Key("modality_dropout", OFF, one_of_or_probabilities(OFF, *MODALITY_DROPOUTS),
        "How the subset of a training case is drawn, from the modalities it has: uniformly over the non-empty subsets; "
        "first a uniform number of modalities, then a uniform subset of that size; or each modality kept by itself, "
        "conditioned on at least one. In a table, each named modality is dropped by itself with its own probability, "
        "the others never; drawn again while nothing is left.",
        ((lambda c: isinstance(c["modality_dropout"], dict) and not any(c["modality_dropout"].values()),
          'modality_dropout names no modality of a probability above 0: give one, or set it to "none".'),),
        # "none" says the same as modality_subset, which a table contradicts.
        idle=(lambda c: c["modality_dropout"] in MODALITY_DROPOUTS and _is_fixed(c), _IS_FIXED)),
    Key("modality_dropout_probability", 0.5, BELOW_ONE, 'Probability that `"bernoulli"` drops a modality.',
        idle=(lambda c: c["modality_dropout"] != "bernoulli" or _is_fixed(c),
              'modality_dropout is not "bernoulli", or modality_subset takes its place')),
    Key("modality_dropout_seed", 0, NATURAL,
        "Seed of the subsets, and of the cubes that masked pretraining hides; with the epoch and the rank it "
        "determines every draw, so `--c` continues the sequence.",
        # Only masked pretraining has a masked_share.
        idle=(lambda c: _drops_nothing(c) and "masked_share" not in c, _NOTHING_IS_DROPPED)),
    Key("modality_dropout_from", 0.0, SHARE,
        "Share of the training before which no modality is dropped.", idle=(_drops_nothing, _NOTHING_IS_DROPPED)),
    Key("modality_dropout_until", 0.0, SHARE,
        "Share of the training from which on every case is dropped from; in between, the chance that a case is grows "
        "linearly from 0 to 1.",
        ((lambda c: c["modality_dropout_until"] < c["modality_dropout_from"],
          "modality_dropout_until must not be below modality_dropout_from."),),
        (_drops_nothing, _NOTHING_IS_DROPPED)),
    Key("modality_subsets", OFF, SUBSET_WEIGHTS,
        "The subsets that are drawn, with relative weights, in the place of those of `modality_dropout`; others are "
        "never drawn. A case is shown what it has of the one that is drawn. A prevalence file has a line "
        "`subset,count` for each; its path may hold `$VARIABLES`, and is relative to the folder of the plans.",
        ((lambda c: c["modality_subsets"] != OFF and c.get("subset_objective") == "enumerate",
          'subset_objective "enumerate" trains on every subset alike: set modality_subsets to "none", or choose a '
          'trainer that draws one, as nnUNetTrainerSharedBackbone.'),),
        (lambda c: c["modality_dropout"] == OFF,
         'modality_dropout is "none" (they would take the place of "uniform")')),
    Key("modality_subset", "all", CHANNELS_OR_ALL,
        "Train and predict on these modalities alone, whatever else a case has; nothing is dropped then. Trainers of "
        "teachers still see all; another model that teaches must be trained without this key, and an average cannot.",
        ((lambda c: _is_fixed(c) and c.get("teacher") == "average",
          'the average of a network that sees modality_subset alone cannot teach it more: set teacher to a model, or '
          'modality_subset to "all".'),
         (lambda c: _is_fixed(c) and c.get("subset_objective") == "enumerate",
          'subset_objective "enumerate" trains on every subset of all modalities: set modality_subset to "all", or '
          'choose a trainer that draws one, as nnUNetTrainerSharedBackbone.'),
         (lambda c: _is_fixed(c) and _has_pattern(c),
          'modality_subset shows every case the same modalities, and modality_subsets and a table of modality_dropout '
          'say which are drawn: set modality_subset to "all", or leave those out.'))),
    Key("validation_subsets", "full", one_of("full", "cycle"),
        "What the pseudo Dice and `checkpoint_best` are computed on: all modalities, or each batch the next of the "
        "2^J - 1 subsets; of those of `modality_subsets` or of a table of `modality_dropout`, in the proportions in "
        "which they are drawn.", idle=(_is_fixed, _IS_FIXED)),
)
# fmt: on
