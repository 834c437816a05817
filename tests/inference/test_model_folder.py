"""Model folders: what is in them, what is refused, and how stock models read absent channels."""

from __future__ import annotations

import json

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod.inference.model_files import BEST, ModelFolderError
from nnunet_missingmod.inference.model_folder import load_predictor, open_model_folder

CPU = torch.device("cpu")


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=1)


def edit_json(file, edit):
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def test_a_folder_says_what_it_holds(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainerModalityDropout", folds=(1, 0))
    model = open_model_folder(folder)
    assert model.folds == (0, 1)
    assert model.trainer == "nnUNetTrainerModalityDropout"
    assert model.configuration == "3d_fullres"
    assert model.modalities == ("FLAIR", "T1", "T1ce", "T2")
    assert model.file_ending == ".nii.gz"
    assert model.mirroring_axes == (1,)
    assert [file.exists() for file in model.checkpoints] == [True, True]
    assert model.configuration_manager.preprocessor_name == "MissingModPreprocessor"


def test_the_stock_model_sees_zeros_in_place_of_what_is_absent(tiny, make_model):
    model = open_model_folder(make_model(tiny, "nnUNetTrainer"))
    network = load_predictor(model, device=CPU, kind=nnUNetPredictor).network.eval()
    x = torch.randn(1, 4, 16, 16, 16)
    zeros, marked = x.clone(), x.clone()
    zeros[:, 1], marked[:, 1] = 0, torch.nan
    with torch.no_grad():
        assert torch.equal(network(marked), network(zeros))
        assert not torch.equal(network(marked), network(x))


def test_the_first_folds_weights_are_in_the_network(tiny, make_model):
    model = open_model_folder(make_model(tiny, "nnUNetTrainer", folds=(0, 1)))
    predictor = load_predictor(model, device=CPU, kind=nnUNetPredictor)
    name = "encoder.stages.0.0.convs.0.conv.weight"
    assert torch.equal(predictor.network.state_dict()[name], model.weights[0][name])
    assert not torch.equal(model.weights[1][name], model.weights[0][name])
    assert len(predictor.list_of_parameters) == 2


def test_fold_all_is_taken_where_it_is_the_only_one(tiny, make_model):
    assert open_model_folder(make_model(tiny, "nnUNetTrainer", folds=("all",))).folds == ("all",)


def test_another_checkpoint_can_be_named(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer", checkpoint=BEST)
    assert open_model_folder(folder, checkpoint_name=BEST).checkpoints[0].name == BEST


def test_what_is_no_model_folder_is_refused_with_the_fix(tmp_path, tiny, make_model):
    with pytest.raises(ModelFolderError, match="not one of its folds"):
        open_model_folder(make_model(tiny, "nnUNetTrainer") / "fold_0")


def test_a_torn_checkpoint_is_refused_by_its_fold(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer")
    file = folder / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelFolderError, match=r"fold 0: .*checkpoint_final\.pth.*Train this fold again"):
        open_model_folder(folder)


def test_folds_of_different_trainers_are_refused(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer", folds=(0, 1))
    file = folder / "fold_1" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), "trainer_name": "nnUNetTrainerZeroFill"}, file)
    with pytest.raises(ModelFolderError, match="trained differently"):
        open_model_folder(folder)


def test_a_foreign_preprocessor_is_not_displaced(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer")

    def name_another(plans):
        plans["configurations"]["3d_fullres"]["preprocessor_name"] = "Theirs"

    edit_json(folder / "plans.json", name_another)
    with pytest.raises(ModelFolderError, match="'Theirs'"):
        open_model_folder(folder)


def test_a_configuration_that_the_plans_lack_is_refused(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer")
    edit_json(folder / "plans.json", lambda plans: plans["configurations"].pop("3d_fullres"))
    with pytest.raises(ModelFolderError, match="no configuration 3d_fullres"):
        open_model_folder(folder)


def test_weights_that_do_not_fit_the_plans_are_refused(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer")

    def widen(plans):
        plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [5, 8, 8]

    edit_json(folder / "plans.json", widen)
    with pytest.raises(ModelFolderError, match="cannot be built"):
        load_predictor(open_model_folder(folder), device=CPU, kind=nnUNetPredictor)


def test_the_fingerprint_knows_weights_plans_and_folds(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer", folds=(0, 1))
    first = open_model_folder(folder)
    assert open_model_folder(folder).fingerprint == first.fingerprint
    assert open_model_folder(folder, folds=[0]).fold_fingerprints["0"] == first.fold_fingerprints["0"]
    assert open_model_folder(folder, folds=[0]).fingerprint != first.fingerprint

    file = folder / "fold_1" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    next(iter(checkpoint["network_weights"].values()))[0] += 1e-4
    torch.save(checkpoint, file)
    changed = open_model_folder(folder)
    assert changed.fold_fingerprints["0"] == first.fold_fingerprints["0"]
    assert changed.fold_fingerprints["1"] != first.fold_fingerprints["1"]

    edit_json(folder / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(spacing=[2.0] * 3))
    assert open_model_folder(folder).fold_fingerprints["0"] != first.fold_fingerprints["0"]


@pytest.mark.parametrize("name", ["nnUNetTrainerModalityDropout", "nnUNetTrainerRDL"])
def test_a_foreign_trainer_of_our_name_is_taken_for_stock_nnunet(make_tiny_dataset, make_model, name):
    tiny = make_tiny_dataset(num_cases=0)
    folder = make_model(tiny, "nnUNetTrainer")
    stock = open_model_folder(folder)
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), "trainer_name": name}, file)
    model = open_model_folder(folder)
    assert not model.is_ours
    assert model.taken_for.startswith(f'{name} (stock nnU-Net, not this package\'s, as its plans have no "missingmod"')
    network = load_predictor(model, device=torch.device("cpu"), kind=nnUNetPredictor).network
    expected = load_predictor(stock, device=torch.device("cpu"), kind=nnUNetPredictor).network
    data = torch.randn(1, 4, 16, 16, 16)
    data[:, 1:3] = float("nan")
    with torch.no_grad():
        assert torch.equal(network.eval()(data), expected.eval()(data))


@pytest.mark.parametrize("block", [{"num_epochs": 5}, {"modality_subset": ["T1"]}])
@pytest.mark.parametrize("name", ["nnUNetTrainer", "nnUNetTrainer_5epochs"])
def test_stock_nnunet_trained_with_plans_that_hold_our_choices_is_stock(make_tiny_dataset, make_model, name, block):
    tiny = make_tiny_dataset(num_cases=0)
    tiny.plans["configurations"]["3d_fullres"]["missingmod"] = block
    folder = make_model(tiny, "nnUNetTrainer")
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), "trainer_name": name}, file)
    model = open_model_folder(folder)
    assert "missingmod" in model.configuration_manager.configuration
    assert not model.is_ours
    assert model.trained_on is None
    assert model.taken_for == f"{name} (stock nnU-Net: zeros in place of absent modalities)"


def test_our_trainers_are_known_by_their_choices_in_plans_or_checkpoint(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=0)
    folder = make_model(tiny, "nnUNetTrainerModalityDropout")
    assert open_model_folder(folder).taken_for == "nnUNetTrainerModalityDropout"
    (folder / "plans.json").write_text(json.dumps(tiny.plans))
    assert open_model_folder(folder).is_ours
    stock = open_model_folder(make_model(tiny, "nnUNetTrainer"))
    assert stock.taken_for == "nnUNetTrainer (stock nnU-Net: zeros in place of absent modalities)"
