"""nnU-Net's predictor that notes what each of several folds alone would have segmented, before it averages them.

``Predictor`` and the predictions of an evaluation take the agreement of the folds from it.
"""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_missingmod.evaluation.agreement import CroppedLabels


class FoldLabelsPredictor(nnUNetPredictor):
    """nnU-Net's predictor, built, initialised and used like it; its logits are the same.

    Label maps are on the grid of the preprocessed case, in the box that nnU-Net cropped it to: there they cost an
    argmax per fold and no resampling. With one fold nothing is noted.

    Attributes:
        model_labels: the model's label manager.
        notes_folds: whether to note anything.
    """

    notes_folds = True
    model_labels: LabelManager
    list_of_parameters: Any

    def manual_initialization(self, network: Any, plans_manager: Any, *args: Any, **kwargs: Any) -> None:
        """Initialise as nnU-Net does."""
        super().manual_initialization(network, plans_manager, *args, **kwargs)
        self.model_labels = self.label_manager
        self._noted: list[list[CroppedLabels]] = []

    def labels_of_folds(self, index: int = 0) -> list[CroppedLabels]:
        """Return the label map of each fold of the last prediction; an empty list if none was noted.

        Args:
            index: which one, if logits of several predictions lie one after the other on the channel axis.
        """
        return [of_fold[index] for of_fold in self._noted]

    def predict_logits_from_preprocessed_data(self, data: torch.Tensor) -> torch.Tensor:
        """Predict as nnU-Net does, the label maps of an earlier case forgotten."""
        self._noted = []
        logits: torch.Tensor = super().predict_logits_from_preprocessed_data(data)
        return logits

    def predict_sliding_window_return_logits(self, input_image: torch.Tensor) -> torch.Tensor:
        """Return one fold's logits, as nnU-Net does, and note their label maps if there are several folds."""
        logits: torch.Tensor = super().predict_sliding_window_return_logits(input_image)
        if self.notes_folds and len(self.list_of_parameters) > 1:
            heads = self.model_labels.num_segmentation_heads
            self._noted.append([CroppedLabels.of(self._labels(part)) for part in logits.split(heads)])
        return logits

    def _labels(self, logits: torch.Tensor) -> Any:
        """Return the label map of logits (K, *spatial) as an array."""
        labels = self.model_labels
        if logits.device.type != "cpu" and not labels.has_regions:
            return logits.argmax(0).cpu().numpy()  # nnU-Net's own conversion would copy the logits, too
        return labels.convert_logits_to_segmentation(logits).cpu().numpy()
