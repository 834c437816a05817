"""What the methods' choices are worth: each class changes one choice of a method, or as few as go together."""

from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI
from nnunet_missingmod.trainers.nnUNetTrainerRDL import nnUNetTrainerRDL


class nnUNetTrainerHolderMIAnchorModality(nnUNetTrainerHolderMI):
    """The flagship, aligned to one modality instead of a mixture."""

    alignment_anchor = "modality"


class nnUNetTrainerHolderMIAnchorNormal(nnUNetTrainerHolderMI):
    """The flagship, aligned to the standard normal distribution instead of a mixture."""

    alignment_anchor = "normal"


class nnUNetTrainerHolderMIAnchorNone(nnUNetTrainerHolderMI):
    """The flagship without alignment."""

    alignment_anchor = "none"


class nnUNetTrainerHolderMIEncoderSeparate(nnUNetTrainerHolderMI):
    """The flagship with a channel encoder of its own for each modality."""

    channel_encoder = "separate"
    initial_weights = "random"


class nnUNetTrainerHolderMIEncoderNone(nnUNetTrainerHolderMI):
    """The flagship without channel encoder and, its images being fixed, without alignment."""

    channel_encoder = "none"
    initial_weights = "random"
    alignment_anchor = "none"


class nnUNetTrainerHolderMIRandomStart(nnUNetTrainerHolderMI):
    """The flagship from random weights instead of its teacher's."""

    initial_weights = "random"


class nnUNetTrainerHolderMIWithoutMI(nnUNetTrainerHolderMI):
    """The flagship without mutual-information distillation."""

    mutual_information = "none"


class nnUNetTrainerHolderMIWithoutHolder(nnUNetTrainerHolderMI):
    """The flagship without Hölder distillation."""

    divergence = "none"


class nnUNetTrainerHolderMIHolderPseudo(nnUNetTrainerHolderMI):
    """The flagship with the improper Hölder pseudo-divergence at the alpha of the paper."""

    divergence = "holder_pseudo"
    divergence_alpha = 1.1


class nnUNetTrainerHolderMIKullbackLeibler(nnUNetTrainerHolderMI):
    """The flagship with the Kullback-Leibler divergence in place of Hölder's divergence."""

    divergence = "kullback_leibler"


class nnUNetTrainerHolderMITotalVariation(nnUNetTrainerHolderMI):
    """The flagship with total variation in place of Hölder's divergence."""

    divergence = "total_variation"


class nnUNetTrainerHolderMISquaredHellinger(nnUNetTrainerHolderMI):
    """The flagship with the squared Hellinger distance in place of Hölder's divergence."""

    divergence = "squared_hellinger"


class nnUNetTrainerHolderMINeymanChiSquared(nnUNetTrainerHolderMI):
    """The flagship with Neyman's chi^2 in place of Hölder's divergence."""

    divergence = "neyman_chi_squared"


class nnUNetTrainerHolderMIJensenShannon(nnUNetTrainerHolderMI):
    """The flagship with the Jensen-Shannon divergence in place of Hölder's divergence."""

    divergence = "jensen_shannon"


class nnUNetTrainerRDLAlpha105(nnUNetTrainerRDL):
    """nnUNetTrainerRDL with alpha = 1.05."""

    divergence_alpha = 1.05


class nnUNetTrainerRDLAlpha108(nnUNetTrainerRDL):
    """nnUNetTrainerRDL with alpha = 1.08."""

    divergence_alpha = 1.08


class nnUNetTrainerRDLAlpha115(nnUNetTrainerRDL):
    """nnUNetTrainerRDL with alpha = 1.15."""

    divergence_alpha = 1.15


class nnUNetTrainerRDLAlpha120(nnUNetTrainerRDL):
    """nnUNetTrainerRDL with alpha = 1.20."""

    divergence_alpha = 1.2
