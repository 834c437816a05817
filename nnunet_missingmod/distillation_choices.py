"""The choices of further terms that learn from a teacher, as ``choices`` has all others."""

from __future__ import annotations

from nnunet_missingmod.keys import POSITIVE, SWITCH, WEIGHT, Choices, Key, Term, is_false
from nnunet_missingmod.network_choices import is_parallel


def _fuses_logits(choices: Choices) -> bool:
    return is_parallel(choices) and bool(choices["fused_at"] == "logits")


# fmt: off
DISTILLATION_KEYS: tuple[Key, ...] = (
    Key("gated_distillation", False, SWITCH,
        "Whether the student learns the teacher's posteriors where the teacher is right and better."),
    Key("gated_distillation_weight", 0.5, WEIGHT, "Weight of that term.",
        idle=is_false("gated_distillation")),
    Key("gated_distillation_temperature", 10.0, POSITIVE, "Temperature of student and teacher in it.",
        idle=is_false("gated_distillation")),
    Key("prototype", False, SWITCH,
        "Whether each voxel's decoder features are to be as alike to the classes' mean features as the teacher's are.",
        ((lambda c: c["prototype"] and _fuses_logits(c),
          'a network fused at logits has no one decoder to compare: set prototype to false.'),)),
    Key("prototype_weight", 0.1, WEIGHT, "Weight of that term.",
        idle=is_false("prototype")),
    Key("contrastive", False, SWITCH,
        "Whether projections of decoder features are to be near the teacher's of the same case and apart from others'.",
        ((lambda c: c["contrastive"] and _fuses_logits(c),
          'a network fused at logits has no one decoder to compare: set contrastive to false.'),)),
    Key("contrastive_weight", 0.5, WEIGHT, "Weight of that term.",
        idle=is_false("contrastive")),
)
# fmt: on


def _learns(_choices: Choices) -> bool:
    return True


DISTILLATION_TERMS: tuple[Term, ...] = (
    Term(
        "gated_distillation",
        "gated_distillation",
        "gated_distillation_weight",
        "gated_distillation:GatedDistillationTerm",
        has_teacher=_learns,
        warms_up=_learns,
    ),
    Term(
        "prototype", "prototype", "prototype_weight", "prototype:PrototypeTerm", has_teacher=_learns, warms_up=_learns
    ),
    Term(
        "contrastive",
        "contrastive",
        "contrastive_weight",
        "contrastive:ContrastiveTerm",
        has_teacher=_learns,
        warms_up=_learns,
    ),
)
