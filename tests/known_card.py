"""A model card whose numbers tests know: Dice of WT is a fifth per modality, plus or minus a hundredth over 9 cases."""

from __future__ import annotations

from nnunet_missingmod.evaluation.model_card import FILE_NAME, make_card, write_card
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.inference.model_folder import ModelFolder
from nnunet_missingmod.modalities import all_subsets, subset_name


def write_known_card(model: ModelFolder) -> None:
    """Write it into the model's folder, as of the model's weights."""
    names = model.modalities
    rows = [
        ScoreRow(
            "m", "0", f"c{case}", name, len(subset), "WT", len(subset) / 5 + (case % 3 - 1) / 100, 1, 1, 1, 9, 9, 30
        )
        for subset in all_subsets(len(names))
        for name in [subset_name(subset, names)]
        for case in range(9)
    ]
    card = make_card(rows, modalities=names, provenance={"weights": model.fold_fingerprints, "cases": "test cases"})
    write_card(card, model.folder / FILE_NAME)
