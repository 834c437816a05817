"""Files of an evaluation are those that nnU-Net writes for the same case with files missing."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod.benchmarking.cases import EvaluationCase, EvaluationSet
from nnunet_missingmod.benchmarking.predictions import predict_set
from nnunet_missingmod.benchmarking.store import PredictionSettings, PredictionStore
from nnunet_missingmod.inference.all_subsets import SubsetPredictor
from nnunet_missingmod.inference.model_folder import load_predictor, open_model_folder
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor
from nnunet_missingmod.workers import Workers

CPU = torch.device("cpu")


@pytest.fixture
def tiny(make_tiny_dataset):
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=2)
    for case in tiny.cases:
        for file in (*map(str, tiny.images(case)), str(tiny.label(case))):
            image = sitk.ReadImage(file)
            image.SetSpacing((1.3, 0.9, 1.1))
            image.SetOrigin((5.0, -3.0, 2.0))
            sitk.WriteImage(image, file)
    return tiny


def run(tiny, model, store, *, jobs=1, settings=PredictionSettings(), subsets=None):  # noqa: B008
    cases = [EvaluationCase(case, {c: tiny.image(case, c) for c in (0, 1)}, tiny.label(case)) for case in tiny.cases]
    advanced = []
    with Workers(jobs) as workers:
        predicted = predict_set(
            model,
            EvaluationSet(model.folds, cases, {}),
            subsets or all_subsets(2),
            store,
            settings=settings,
            device=CPU,
            workers=workers,
            on_progress=advanced.append,
        )
    return predicted, sum(advanced)


@pytest.mark.parametrize("trainer", ["nnUNetTrainer", "nnUNetTrainerRDL"])
def test_each_file_is_what_nnunet_writes_for_that_case_alone(tiny, make_model, tmp_path, trainer):
    model = open_model_folder(make_model(tiny, trainer, folds=(0, 1)))
    predicted, advanced = run(tiny, model, PredictionStore(tmp_path / "out", model.modalities, ".nii.gz"))
    assert predicted.failed == {}
    assert advanced == 2 * 3
    host = load_predictor(model, device=CPU, kind=nnUNetPredictor)
    case = tiny.cases[1]
    differing = 0
    for subset in all_subsets(2):
        data, _, properties = MissingModPreprocessor(verbose=False).run_case(
            [str(tiny.image(case, channel)) for channel in subset],
            None,
            model.plans_manager,
            model.configuration_manager,
            model.dataset_json,
        )
        logits = host.predict_logits_from_preprocessed_data(torch.from_numpy(data))
        export_prediction_from_logits(
            logits,
            properties,
            model.configuration_manager,
            model.plans_manager,
            model.dataset_json,
            str(tmp_path / "host"),
        )
        ours = sitk.ReadImage(str(predicted.files[case, subset]))
        theirs = sitk.ReadImage(str(tmp_path / "host.nii.gz"))
        assert ours.GetSize() == theirs.GetSize()
        assert ours.GetSpacing() == theirs.GetSpacing() == pytest.approx((1.3, 0.9, 1.1))
        assert ours.GetOrigin() == theirs.GetOrigin() == pytest.approx((5.0, -3.0, 2.0))
        labels = sitk.GetArrayFromImage(theirs)
        assert len(np.unique(labels)) > 1
        differing += int((sitk.GetArrayFromImage(ours) != labels).sum())
    # A voxel may change where two classes tie within the rounding of half precision.
    assert differing <= 3


@pytest.mark.slow
def test_worker_processes_write_the_same_files(tiny, make_model, tmp_path):
    model = open_model_folder(make_model(tiny, "nnUNetTrainerRDL"))
    settings = PredictionSettings(mirroring=False)
    here, _ = run(tiny, model, PredictionStore(tmp_path / "1", model.modalities, ".nii.gz"), settings=settings)
    there, _ = run(tiny, model, PredictionStore(tmp_path / "2", model.modalities, ".nii.gz"), settings=settings, jobs=2)
    assert list(here.files) == list(there.files)
    for key, file in here.files.items():
        assert file.read_bytes() == there.files[key].read_bytes()


def test_other_settings_make_other_predictions(tiny, make_model, tmp_path):
    model = open_model_folder(make_model(tiny, "nnUNetTrainer"))
    store = PredictionStore(tmp_path / "out", model.modalities, ".nii.gz")
    whole = [(0, 1)]
    run(tiny, model, store, subsets=whole)
    mirrored = store.file(tiny.cases[0], (0, 1)).read_bytes()
    run(tiny, model, store, subsets=whole, settings=PredictionSettings(mirroring=False))
    assert store.file(tiny.cases[0], (0, 1)).read_bytes() != mirrored
    run(tiny, model, store, subsets=whole)
    assert store.file(tiny.cases[0], (0, 1)).read_bytes() == mirrored


def test_settings_of_cudnn_and_threads_are_as_before_also_after_a_failure(tiny, make_model, tmp_path, monkeypatch):
    model = open_model_folder(make_model(tiny, "nnUNetTrainer"))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    during = []

    def failing(*_args):
        during.append((torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic))
        torch.set_num_threads(3)
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(SubsetPredictor, "predict_logits_of_subsets", failing)
    threads = torch.get_num_threads()
    predicted, _ = run(tiny, model, PredictionStore(tmp_path, model.modalities, ".nii.gz"))
    assert predicted.failed == dict.fromkeys(tiny.cases, "no memory")
    assert during == [(False, True)] * 2
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (True, False)
    assert torch.get_num_threads() == threads


def test_an_image_that_is_gone_costs_its_case_only(tiny, make_model, tmp_path):
    model = open_model_folder(make_model(tiny, "nnUNetTrainer"))
    tiny.image(tiny.cases[0], 1).unlink()
    store = PredictionStore(tmp_path, model.modalities, ".nii.gz")
    predicted, advanced = run(tiny, model, store, subsets=[(0,)], settings=PredictionSettings(mirroring=False))
    assert list(predicted.failed) == tiny.cases[:1]
    assert list(predicted.files) == [(tiny.cases[1], (0,))]
    assert advanced == 2


def test_an_output_that_is_no_number_is_a_failed_case(tiny, make_model, tmp_path):
    model = open_model_folder(make_model(tiny, "nnUNetTrainer"))
    for value in model.weights[0].values():
        value.mul_(1e7)  # of a layer that has several names, several times
    store = PredictionStore(tmp_path, model.modalities, ".nii.gz")
    predicted, _ = run(tiny, model, store, subsets=[(0,)], settings=PredictionSettings(mirroring=False))
    assert predicted.files == {}
    assert all("output is not finite" in said for said in predicted.failed.values())
    assert list(predicted.failed) == tiny.cases


def test_the_spacing_file_of_a_case_is_part_of_what_its_predictions_are_made_from(tiny, make_model, tmp_path):
    model = open_model_folder(make_model(tiny, "nnUNetTrainer"))
    store = PredictionStore(tmp_path, model.modalities, ".nii.gz")
    settings = PredictionSettings(mirroring=False)
    run(tiny, model, store, subsets=[(0,)], settings=settings)
    record = store.folder / "records" / f"{tiny.cases[0]}.json"
    before = record.read_bytes()
    run(tiny, model, store, subsets=[(0,)], settings=settings)
    assert record.read_bytes() == before
    (tiny.raw / "imagesTr" / f"{tiny.cases[0]}.json").write_text('{"spacing": [1, 1, 1]}')
    run(tiny, model, store, subsets=[(0,)], settings=settings)
    assert record.read_bytes() != before
