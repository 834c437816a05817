"""All subsets at once give what nnU-Net gives for each case whose files are missing."""

from __future__ import annotations

import logging

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod.benchmarking.preparation import prepare_case
from nnunet_missingmod.inference import all_subsets as all_subsets_module
from nnunet_missingmod.inference.all_subsets import SubsetPredictor
from nnunet_missingmod.inference.model_folder import load_predictor, open_model_folder
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor

CPU = torch.device("cpu")
NETWORKS = {
    "stock": ("nnUNetTrainer", {}),
    "early": ("nnUNetTrainerMedMAP", {}),
    "conditioned": ("nnUNetTrainerMedMAP", {"presence_conditioning": True, "absent_fill": "learned"}),
    "parallel, logits": ("nnUNetTrainerSharedBackbone", {"fused_at": "logits"}),
    "parallel, features": ("nnUNetTrainerSharedBackbone", {"fused_at": "features"}),
    "parallel, attention": ("nnUNetTrainerSharedBackbone", {"fused_at": "features", "feature_fusion": "attention"}),
}
# nnU-Net sums logits in half precision: networks that differ in rounding of float32 come to lie on neighbouring half
# precision numbers at most, two of them 2e-3 apart below 4, with two folds and their mean at most three such steps.
TOLERANCE = 6e-3


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=1)


def separate_logits(model, files):
    """nnU-Net's own predictor on a case that has only these files."""
    data, _, _ = MissingModPreprocessor(verbose=False).run_case(
        [str(file) for file in files], None, model.plans_manager, model.configuration_manager, model.dataset_json
    )
    predictor = load_predictor(model, device=CPU, kind=nnUNetPredictor)
    return predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))


def at_once(model, case, files, subsets):
    predictor = load_predictor(model, device=CPU, kind=SubsetPredictor)
    return {
        subset: logits
        for group in prepare_case(model, case, files, subsets).groups
        for subset, logits in predictor.predict_logits_of_subsets(torch.from_numpy(group.data(4)), group.subsets)
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_each_subset_equals_its_own_prediction_from_files(name, tiny, make_model):
    trainer, block = NETWORKS[name]
    model = open_model_folder(make_model(tiny, trainer, folds=(0, 1), **block))
    files = {channel: tiny.image(tiny.cases[0], channel) for channel in range(4)}
    predicted = at_once(model, tiny.cases[0], files, all_subsets(4))
    assert list(predicted) == all_subsets(4)
    for subset in ((2,), (0, 3), (0, 1, 3), (0, 1, 2, 3)):
        expected = separate_logits(model, [files[channel] for channel in subset])
        torch.testing.assert_close(predicted[subset].float(), expected.float(), rtol=0, atol=TOLERANCE)
        # Were all logits alike, there would be nothing to compare.
        assert expected.float().std() > 50 * TOLERANCE
    apart = (predicted[(2,)].float() - predicted[(0, 3)].float()).abs().mean()
    assert apart > 5 * TOLERANCE


def test_a_slice_configuration_works_too(tiny, make_model):
    model = open_model_folder(make_model(tiny, "nnUNetTrainerRDL", configuration="2d"))
    files = {channel: tiny.image(tiny.cases[0], channel) for channel in range(4)}
    predicted = at_once(model, tiny.cases[0], files, [(1,), (1, 2)])
    for subset in ((1,), (1, 2)):
        expected = separate_logits(model, [files[channel] for channel in subset])
        torch.testing.assert_close(predicted[subset].float(), expected.float(), rtol=0, atol=TOLERANCE)


@pytest.fixture
def predictor(tiny, make_model):
    model = open_model_folder(make_model(tiny, "nnUNetTrainerSharedBackbone"))
    return load_predictor(model, device=CPU, kind=SubsetPredictor, use_mirroring=False)


def test_little_memory_means_more_passes_and_the_same_logits(predictor, monkeypatch, caplog):
    data = torch.randn(4, 20, 20, 20)
    whole = dict(predictor.predict_logits_of_subsets(data, all_subsets(4)))
    of_one = 4 * (20**3 * 2 + 16**3 * 12)
    monkeypatch.setattr(all_subsets_module, "_free_bytes", lambda device: int(4.5 * of_one / 0.4))
    stacks = []
    predict_stack = predictor._predict_stack
    monkeypatch.setattr(
        predictor, "_predict_stack", lambda data, subsets: stacks.append(len(subsets)) or predict_stack(data, subsets)
    )
    with caplog.at_level(logging.INFO):
        parts = dict(predictor.predict_logits_of_subsets(data, all_subsets(4)))
    assert stacks == [4, 4, 4, 3]
    assert "4 of 15 subsets at once: 4 passes" in caplog.text
    assert all(torch.equal(parts[subset], whole[subset]) for subset in all_subsets(4))


def test_a_gpu_that_runs_out_of_memory_gets_fewer_subsets(predictor, monkeypatch, caplog):
    data = torch.randn(4, 16, 16, 16)
    whole = dict(predictor.predict_logits_of_subsets(data, all_subsets(4)))
    predict_stack = predictor._predict_stack

    def predict_few(data, subsets):
        if len(subsets) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return predict_stack(data, subsets)

    monkeypatch.setattr(predictor, "_predict_stack", predict_few)
    parts = dict(predictor.predict_logits_of_subsets(data, all_subsets(4)))
    assert "no memory for 15 subsets at once: going on with 8" in caplog.text
    assert all(torch.equal(parts[subset], whole[subset]) for subset in all_subsets(4))


def test_a_gpu_without_memory_for_one_subset_gives_up(predictor, monkeypatch):
    def predict_none(data, subsets):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(predictor, "_predict_stack", predict_none)
    with pytest.raises(torch.OutOfMemoryError):
        list(predictor.predict_logits_of_subsets(torch.randn(4, 16, 16, 16), [(0,), (1,)]))
