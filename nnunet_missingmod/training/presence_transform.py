"""Augmentation that neither sees absent channels nor loses track of them."""

from __future__ import annotations

from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform

from nnunet_missingmod import absence


class PresencePreservingTransform(BasicTransform):
    """Apply a transform to a sample whose ``image`` (C, *spatial) may have absent channels.

    The transform sees zeros in their place (interpolation would smear NaN, masking and padding would erase it);
    afterwards the channels are absent in every voxel again. Complete samples pass through untouched.
    """

    def __init__(self, transform: BasicTransform) -> None:
        super().__init__()
        self.transform = transform

    def __call__(self, **data_dict: Any) -> dict[str, Any]:
        """Transform one sample."""
        image: torch.Tensor = data_dict["image"]
        present = absence.read(image[None])
        if bool(present.all()):
            return self.transform(**data_dict)
        data_dict["image"] = absence.fill(image[None])[0]
        transformed: dict[str, Any] = self.transform(**data_dict)
        absence.mark(transformed["image"][None], present)
        return transformed
