"""MONAI's predictor of nnU-Net bundles, which docs/howto_share.md says does not work with nnU-Net 2.8."""

from __future__ import annotations

import shutil

import pytest
import torch

from nnunet_missingmod.training.checkpoints import read_checkpoint
from nnunet_missingmod.training.safe_checkpoint import without_training

bundles = pytest.importorskip("monai.apps.nnunet")


def test_it_builds_networks_in_a_way_that_nnunet_no_longer_has_stock_ones_too(make_tiny_dataset, make_model, tmp_path):
    """When this fails, MONAI has followed nnU-Net: the document must change, and our models be tried with it."""
    folder = make_model(make_tiny_dataset(num_cases=1), "nnUNetTrainer")
    bundle = tmp_path / "models"
    (bundle / "fold_0").mkdir(parents=True)
    for name in ("plans.json", "dataset.json"):
        shutil.copy(folder / name, bundle)
    checkpoint = without_training(read_checkpoint(folder / "fold_0" / "checkpoint_final.pth"))
    torch.save({"network_weights": checkpoint.pop("network_weights")}, bundle / "fold_0" / "model.pt")
    torch.save(checkpoint, bundle / "nnunet_checkpoint.pth")
    with pytest.raises(TypeError, match=r"got multiple values for argument .enable_deep_supervision"):
        bundles.get_nnunet_monai_predictor(bundle / "fold_0")
