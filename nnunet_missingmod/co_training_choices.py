"""The choices of co-training with a second network, as ``choices`` has all others."""

from __future__ import annotations

from collections.abc import Callable

from nnunet_missingmod.keys import NATURAL, SWITCH, WEIGHT, Choices, Key, Term, is_false


def _needs_partner(name: str) -> tuple[tuple[Callable[[Choices], bool], str], ...]:
    return (
        (lambda c: c[name] and not c["partner"], f"{name} needs a partner: set partner to true, or {name} to false."),
    )


# fmt: off
CO_TRAINING_KEYS: tuple[Key, ...] = (
    Key("partner", False, SWITCH,
        "Whether a second network of the same kind, which sees all modalities, learns beside the one that predicts.",
        ((lambda c: c["partner"] and c["subset_objective"] == "enumerate",
          'partner learns from one subset a step: set subset_objective to "sample".'),
         (lambda c: c["partner"] and c["feature_fusion"] in ("region_aware", "gaussian_product"),
          'a partner has no loss of the regions or variances by which "region_aware" and "gaussian_product" fuse: set '
          'feature_fusion to another one, or partner to false.'))),
    Key("partner_weight", 0.25, WEIGHT,
        "Weight of the partner's segmentation in relation to the network's, which is 1.",
        idle=is_false("partner")),
    Key("consistency", False, SWITCH, "Whether the two networks' posteriors are to be equal.",
        _needs_partner("consistency")),
    Key("consistency_weight", 10.0, WEIGHT, "Weight of their squared difference after its ramp.",
        idle=is_false("consistency")),
    Key("consistency_ramp_epochs", 20, NATURAL,
        "E: until then the weight is multiplied by exp(-5 (1 - epoch / E)^2); 0 for no ramp.",
        idle=is_false("consistency")),
    Key("content", False, SWITCH, "Whether the two networks' deepest features are to be equal.",
        _needs_partner("content")),
    Key("content_weight", 0.2, WEIGHT, "Weight of that term.", idle=is_false("content")),
    Key("style", False, SWITCH, "Whether channels of the two networks' deeper levels are to go together alike.",
        _needs_partner("style")),
    Key("style_weight", 1e-4, WEIGHT, "Weight of that term.", idle=is_false("style")),
    Key("entropy_adversarial", False, SWITCH,
        "Whether a discriminator is to fail at telling the two networks' maps of self-information apart.",
        _needs_partner("entropy_adversarial")),
    Key("entropy_adversarial_weight", 1e-3, WEIGHT, "Weight of that term.", idle=is_false("entropy_adversarial")),
    Key("knowledge_adversarial", False, SWITCH,
        "Whether a discriminator is to fail at telling the two networks' deepest features apart.",
        _needs_partner("knowledge_adversarial")),
    Key("knowledge_adversarial_weight", 2e-4, WEIGHT, "Weight of that term.", idle=is_false("knowledge_adversarial")),
)
# fmt: on

CO_TRAINING_TERMS: tuple[Term, ...] = (
    Term("partner", "partner", "partner_weight", "partner:PartnerTerm"),
    Term("consistency", "consistency", "consistency_weight", "partner:ConsistencyTerm"),
    Term("content", "content", "content_weight", "partner:ContentTerm"),
    Term("style", "style", "style_weight", "partner:StyleTerm"),
    Term(
        "entropy_adversarial",
        "entropy_adversarial",
        "entropy_adversarial_weight",
        "adversarial:EntropyAdversarialTerm",
    ),
    Term(
        "knowledge_adversarial",
        "knowledge_adversarial",
        "knowledge_adversarial_weight",
        "adversarial:KnowledgeAdversarialTerm",
    ),
)
