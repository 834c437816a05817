"""Models of stock nnU-Net, whatever their normalisation and number format: opened, predicted, and used as a teacher."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_missingmod import Predictor
from nnunet_missingmod.inference.all_subsets import SubsetPredictor
from nnunet_missingmod.inference.model_folder import load_predictor, open_model_folder

CPU = torch.device("cpu")
BATCH_NORM = {"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"}


def use_batch_norm(tiny):
    tiny.plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] |= BATCH_NORM


def change_weights(folder, change):
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    checkpoint["network_weights"] = {name: change(value) for name, value in checkpoint["network_weights"].items()}
    torch.save(checkpoint, file)


@pytest.mark.parametrize("trainer", ["nnUNetTrainerBN", "nnUNetTrainer", "nnUNetTrainerZeroFill"])
def test_batch_norm_is_predicted_alone_and_for_every_subset(make_tiny_dataset, make_model, trainer):
    tiny = make_tiny_dataset(num_cases=1)
    if trainer != "nnUNetTrainerBN":
        use_batch_norm(tiny)
    folder = make_model(tiny, trainer)
    model = open_model_folder(folder)
    counters = [name for name in model.weights[0] if name.endswith("num_batches_tracked")]
    assert counters
    before = model.fingerprint
    made = Predictor.from_model_folder(folder, device="cpu").predict({"T1": tiny.image("case_000", 1)})
    assert made.array.shape == (18, 20, 22)
    stacked = load_predictor(model, device=CPU, kind=SubsetPredictor)
    data = torch.randn(4, 16, 16, 16)
    for subset, logits in stacked.predict_logits_of_subsets(data, [(0,), (1, 2), (0, 1, 2, 3)]):
        assert logits.isfinite().all(), subset
    assert open_model_folder(folder).fingerprint == model.fingerprint == before
    change_weights(folder, lambda value: value + 1 if value.ndim == 0 else value)
    assert open_model_folder(folder).fingerprint != before


@pytest.mark.parametrize("number", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_are_predicted(make_tiny_dataset, make_model, number):
    tiny = make_tiny_dataset(num_cases=1)
    folder = make_model(tiny, "nnUNetTrainer")
    images = {"T1": tiny.image("case_000", 1), "T2": tiny.image("case_000", 3)}
    before = Predictor.from_model_folder(folder, device="cpu").predict(images)
    change_weights(folder, lambda value: value.to(number))
    after = Predictor.from_model_folder(folder, device="cpu").predict(images)
    assert np.mean(after.array == before.array) > 0.9


@pytest.mark.parametrize("kind", ["nnUNetTrainerBN", "plans", "bfloat16", "residual", "regions"])
def test_a_stock_model_teaches(make_tiny_dataset, preprocess, make_model, monkeypatch, kind):
    from nnunet_missingmod.trainers.nnUNetTrainerHolderMI import nnUNetTrainerHolderMI

    regions = {"labels": {"background": 0, "whole": [1, 2, 3], "core": [3]}, "regions_class_order": (1, 3)}
    tiny = make_tiny_dataset(**(regions if kind == "regions" else {}))
    if kind == "plans":
        use_batch_norm(tiny)
    configuration = "3d_resenc" if kind == "residual" else "3d_fullres"
    preprocess(tiny, configuration)
    trainer = kind if kind == "nnUNetTrainerBN" else "nnUNetTrainer"
    folder = make_model(tiny, trainer, configuration=configuration)
    if kind == "bfloat16":
        change_weights(folder, lambda value: value.bfloat16())
    plans = json.loads(json.dumps(tiny.plans)) | {"continue_training": False}
    plans["configurations"][configuration]["missingmod"] = {
        **{"num_epochs": 1, "num_iterations_per_epoch": 1, "num_val_iterations_per_epoch": 1},
        **{"teacher": trainer, "initial_weights": "random"},
    }
    student = nnUNetTrainerHolderMI(plans, configuration, 0, json.loads(json.dumps(tiny.dataset_json)), CPU)
    monkeypatch.setattr(type(student.logger), "plot_progress_png", lambda self, folder: None)
    student.run_training()
    assert student.frozen_teacher.fingerprint == student.taught_by
    assert np.isfinite(student.logger.get_value("loss_divergence", -1))
    assert (Path(student.output_folder) / "checkpoint_final.pth").is_file()
