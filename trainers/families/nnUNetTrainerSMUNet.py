"""SMU-Net: content and style of a network of all modalities, and of one of a subset (Azad et al., MIDL 2022)."""

from nnunet_missingmod.training.method_trainer import MethodTrainer


class nnUNetTrainerSMUNet(MethodTrainer):
    """Co-train nnU-Net's network with a partner that sees all modalities: equal posteriors, content and style.

    Differs from SMU-Net: one pair for every subset, where there each has one (`"modality_subset"` fixes one here too);
    style and content are compared and not put back into the bottleneck; the adversarial term on style is left out. The
    style term has its printed formula, by which it does nothing: weighted, it is about 1e-16 at nnU-Net's widths.
    """

    network = "stock"
    partner = True
    partner_weight = 0.667
    consistency = True
    consistency_weight = 16.7
    content = True
    content_weight = 0.333
    style = True
    style_weight = 1.67e-4
    modality_dropout = "uniform"
    validation_subsets = "cycle"
