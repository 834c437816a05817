"""ACN behind MedMAP's channel encoder (Liu et al., MedMAP, Eq. 17)."""

from nnunet_missingmod.trainers.families.nnUNetTrainerACN import nnUNetTrainerACN


class nnUNetTrainerACNMedMAP(nnUNetTrainerACN):
    """Train nnUNetTrainerACN with MedMAP's channel encoder before both networks; the partner's latents are aligned.

    Which layer is aligned is not said; Eq. 17 puts it beside mutual information, on the path of all modalities. Differs
    from what is natural, one channel encoder before both networks: here each has one of its own, and only the
    partner's is aligned. Eq. 17 has no consistency and weights of 1 beside 0.125 of the alignment: here both are ACN's.
    Differs from ACN as nnUNetTrainerACN does.
    """

    network = "early"
    channel_encoder = "shared"
    alignment_anchor = "mixture"
