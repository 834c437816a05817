"""What each fold alone would have segmented is noted, and the prediction is nnU-Net's all the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod import absence
from nnunet_missingmod.inference.all_subsets import SubsetPredictor
from nnunet_missingmod.inference.fold_labels import FoldLabelsPredictor
from nnunet_missingmod.inference.model_folder import load_predictor, open_model_folder

CPU = torch.device("cpu")
SHAPE = (16, 16, 16)
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


def whole(cropped):
    return cropped.within((0, 0, 0), SHAPE)


@pytest.fixture(params=[None, REGIONS], ids=["labels", "regions"])
def folder(request, make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(
        ("T1", "T2"), num_cases=1, labels=request.param, regions_class_order=[1, 2, 3] if request.param else None
    )
    return make_model(tiny, "nnUNetTrainerModalityDropout", folds=(0, 1))


def predictor(folder, kind, folds=(0, 1)):
    return load_predictor(open_model_folder(folder, folds=folds), device=CPU, kind=kind)


def test_the_labels_of_each_fold_are_those_of_the_fold_alone(folder):
    data = torch.randn(2, *SHAPE)
    host, ours = predictor(folder, nnUNetPredictor), predictor(folder, FoldLabelsPredictor)
    assert torch.equal(
        ours.predict_logits_from_preprocessed_data(data), host.predict_logits_from_preprocessed_data(data)
    )
    noted = ours.labels_of_folds()
    assert len(noted) == 2
    for fold, of_fold in enumerate(noted):
        alone = predictor(folder, FoldLabelsPredictor, [fold])
        logits = alone.predict_logits_from_preprocessed_data(data)
        np.testing.assert_array_equal(whole(of_fold), alone.label_manager.convert_logits_to_segmentation(logits))
        assert alone.labels_of_folds() == []
    assert not np.array_equal(whole(noted[0]), whole(noted[1]))

    marked = data.clone()
    absence.mark(marked[None], torch.tensor([[True, False]]))
    ours.predict_logits_from_preprocessed_data(marked)
    of_t1 = ours.labels_of_folds()
    ours.notes_folds = False
    ours.predict_logits_from_preprocessed_data(data)
    assert ours.labels_of_folds() == []
    stacked = predictor(folder, SubsetPredictor)
    for subset, _ in stacked.predict_logits_of_subsets(data, [(0, 1), (0,)]):
        expected = noted if subset == (0, 1) else of_t1
        for found, each in zip(stacked.fold_labels[subset], expected, strict=True):
            # A voxel may change where two classes tie within the rounding of half precision.
            assert (whole(found) != whole(each)).sum() <= 3
