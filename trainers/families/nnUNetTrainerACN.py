"""ACN: a network of all modalities and one of a subset learn from each other (Wang et al., MICCAI 2021)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerACN(MethodTrainer):
    """Co-train nnU-Net's network with a partner that sees all modalities: equal posteriors, and mutual information.

    Differs from ACN: one pair for every subset, where there each has one (`"modality_subset"` fixes one here too);
    mutual information is with the partner's features, where the released code predicts the network's own; the two
    adversarial terms, of weights 1e-3 and 2e-4, are off (`"entropy_adversarial"`, `"knowledge_adversarial"`).
    """

    network = "stock"
    partner = True
    partner_weight = 0.25
    consistency = True
    consistency_weight = 12.5
    mutual_information = "partner"
    mutual_information_weight = 0.625
    mutual_information_level_weights = "deepest"
    modality_dropout = "uniform"
    validation_subsets = "cycle"
