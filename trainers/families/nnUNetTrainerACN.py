"""ACN: a network of all modalities and one of a subset learn from each other (Wang et al., MICCAI 2021)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerACN(MethodTrainer):
    """Co-train nnU-Net's network with a partner that sees all modalities: equal posteriors, and mutual information.

    Differs from ACN: one pair for every subset, where there each has one (`"modality_subset"` fixes one here too);
    mutual information is with the partner's features, where the released code predicts the network's own; the two
    adversarial terms are off (`"entropy_adversarial"`, `"knowledge_adversarial"`), and where they are turned on have
    its weights of 1e-3 and 2e-4 as they are, not divided by the 0.8 of its own network's loss as the others are.
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
