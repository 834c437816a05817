"""The choices of what several subsets of a case have to do with each other, as ``choices`` has all others."""

from __future__ import annotations

from nnunet_missingmod.keys import OFF, SWITCH, WEIGHT, Key, Term, is_false, one_of

GRADIENT_SURGERIES = (OFF, "logits", "parameters")

# fmt: off
SUBSET_KEYS: tuple[Key, ...] = (
    Key("gradient_surgery", OFF, one_of(*GRADIENT_SURGERIES),
        "Whether what conflicts between subsets is taken out of their gradients: of the logits and levels of each "
        "modality, or of all parameters, which takes a backward pass for each subset.",
        ((lambda c: c["gradient_surgery"] != OFF and c["subset_objective"] != "enumerate",
          'gradient_surgery needs all subsets in a step: set subset_objective to "enumerate".'),)),
    Key("two_subsets", False, SWITCH,
        "Whether half of a batch's samples are shown in a step, others in each, and each with two subsets.",
        ((lambda c: c["two_subsets"] and c["subset_objective"] == "enumerate",
          'a step of all subsets shows each: set two_subsets to false.'),
         (lambda c: c["two_subsets"] and c["modality_subset"] != "all",
          'two_subsets draws two subsets of a case, and modality_subset shows the same one twice: set two_subsets and '
          'subset_consistency to false, or modality_subset to "all".'),
         (lambda c: c["two_subsets"] and c["modality_dropout"] == OFF,
          'two_subsets draws two subsets of a case: set modality_dropout to "uniform".'))),
    Key("subset_consistency", False, SWITCH,
        "Whether the two subsets' features at the bottleneck are to be equal.",
        ((lambda c: c["subset_consistency"] and not c["two_subsets"],
          "subset_consistency compares two: set two_subsets to true."),)),
    Key("subset_consistency_weight", 0.1, WEIGHT, "Weight of that term.",
        idle=is_false("subset_consistency")),
)
# fmt: on

SUBSET_TERMS: tuple[Term, ...] = (
    Term(
        "subset_consistency",
        "subset_consistency",
        "subset_consistency_weight",
        "subset_consistency:SubsetConsistencyTerm",
    ),
)
