"""A shared model is, to the last bit, the model that was shared; stock nnU-Net installs the zip that is made for it."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.model_sharing import model_import

from nnunet_missingmod import host
from nnunet_missingmod.evaluation.model_card import FILE_NAME, make_card, write_card
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.inference.advise import ExpectedAccuracy
from nnunet_missingmod.inference.model_files import ModelFolderError
from nnunet_missingmod.inference.model_folder import load_predictor, open_model_folder
from nnunet_missingmod.inference.predictor import Predictor
from nnunet_missingmod.inference.share import names_of_cases, share_for_nnunet, share_model
from nnunet_missingmod.sharing.manifest import SharedModelError

CPU = torch.device("cpu")
TRAINER = "nnUNetTrainerModalityDropout"
NAMES = ("FLAIR", "T1", "T1ce", "T2")


@pytest.fixture
def tiny(make_tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_tiny_dataset(NAMES, num_cases=1)


def put_card(model):
    rows = [
        ScoreRow("m", "0", f"case{case}", subset, 1, "WT", 0.5, *(1, 1, 1, 9, 9, 30))
        for subset in ("FLAIR", "FLAIR+T1+T1ce+T2")
        for case in range(3)
    ]
    card = make_card(rows, modalities=NAMES, provenance={"weights": model.fold_fingerprints, "cases": "test folder"})
    write_card(card, model.folder / FILE_NAME)


def share(model, file, pack=share_model):
    pack(model, file, license="unknown", accuracy=ExpectedAccuracy.of_model(model))
    return file


@pytest.mark.parametrize("trainer", [TRAINER, "nnUNetTrainerHolderMISelf", "nnUNetTrainer"])
def test_folder_and_zip_are_one_model_bit_for_bit(tiny, make_model, tmp_path, trainer):
    model = open_model_folder(make_model(tiny, trainer, folds=(0, 1)))
    zipped = open_model_folder(share(model, tmp_path / "model.zip"))
    assert zipped.folder.name == model.folder.name
    assert not list(zipped.folder.rglob("*.pth"))
    assert zipped.fingerprint == model.fingerprint
    assert zipped.mirroring_axes == model.mirroring_axes
    assert (zipped.plans, zipped.dataset_json) == (model.plans, model.dataset_json)
    assert (zipped.trainer, zipped.is_ours, zipped.folds) == (model.trainer, model.is_ours, model.folds)
    for ours, theirs in zip(model.weights, zipped.weights, strict=True):
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    images = torch.randn(1, 4, 16, 16, 16)
    images[:, 2] = torch.nan
    logits = [
        load_predictor(each, device=CPU, kind=nnUNetPredictor).network.eval()(images).detach()
        for each in (model, zipped)
    ]
    assert torch.equal(*logits)
    assert logits[0].isfinite().all()


def test_segmentation_and_probabilities_are_those_of_the_folder(tiny, make_model, tmp_path):
    folder = make_model(tiny, TRAINER)
    file = share(open_model_folder(folder), tmp_path / "model.zip")
    images = {"T1": tiny.image("case_000", 1), "T2": tiny.image("case_000", 3)}
    first, second = (
        Predictor.from_model_folder(each, device="cpu").predict(images, probabilities=True) for each in (folder, file)
    )
    assert np.array_equal(first.array, second.array)
    assert np.array_equal(first.probabilities, second.probabilities)
    assert len(np.unique(first.array)) > 1


def test_what_is_in_the_zip(tiny, make_model, tmp_path):
    model = open_model_folder(make_model(tiny, TRAINER, folds=(0, 1)), folds=[1])
    put_card(model)
    with zipfile.ZipFile(share(model, tmp_path / "model.zip")) as archive:
        assert archive.namelist() == [
            "README.md",
            "dataset.json",
            "plans.json",
            FILE_NAME,
            "fold_1/checkpoint_final.safetensors",
            "fold_1/checkpoint_final.json",
            "manifest.json",
        ]
        manifest = json.loads(archive.read("manifest.json"))
        assert archive.read("plans.json") == (model.folder / "plans.json").read_bytes()
    assert set(manifest["members"]) == {*archive.namelist()} - {"manifest.json"}
    assert set(manifest["versions"]) == {"nnunet_missingmod", "nnunetv2", "torch"}
    assert manifest["model"] == f"{TRAINER}__nnUNetPlans__3d_fullres"


def test_names_of_training_cases_are_not_in_the_checkpoints(tiny, make_model, tmp_path):
    folder = make_model(tiny, TRAINER)
    for file in folder.rglob("checkpoint_final.pth"):
        checkpoint = torch.load(file, weights_only=False)
        checkpoint["init_args"]["dataset_json"]["dataset"] = {"MEIER_HANS_19610203": {"images": ["/data/MEIER"]}}
        torch.save(checkpoint, file)
    model = open_model_folder(folder)
    share(model, tmp_path / "model.zip")
    share_for_nnunet(model, tmp_path / "stock.zip", license="unknown", accuracy=None)
    for name in ("model.zip", "stock.zip"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert not any(b"MEIER" in archive.read(member) for member in archive.namelist())


def test_equal_models_give_equal_zips(tiny, make_model, tmp_path):
    model = open_model_folder(make_model(tiny, TRAINER))
    files = [share(model, tmp_path / f"{name}.zip") for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_shared_model_is_shared_again_as_it_is(tiny, make_model, tmp_path):
    first = share(open_model_folder(make_model(tiny, TRAINER)), tmp_path / "first.zip")
    second = share(open_model_folder(first), tmp_path / "second.zip")
    assert first.read_bytes() == second.read_bytes()


def test_the_card_holds_for_the_zip_and_its_cases_are_told(tiny, make_model, tmp_path):
    model = open_model_folder(make_model(tiny, TRAINER))
    put_card(model)
    zipped = open_model_folder(share(model, tmp_path / "model.zip"))
    found = ExpectedAccuracy.of_model(zipped)
    assert found.as_json(["FLAIR"]) == ExpectedAccuracy.of_model(model).as_json(["FLAIR"])
    assert names_of_cases(zipped, found) == {FILE_NAME: 3}
    assert names_of_cases(model, None) == {}


def test_a_card_of_other_weights_stays_at_home(tiny, make_model, tmp_path):
    model = open_model_folder(make_model(tiny, TRAINER))
    put_card(model)
    other = open_model_folder(make_model(tiny, TRAINER, seed=1))
    with zipfile.ZipFile(share(other, tmp_path / "model.zip")) as archive:
        assert FILE_NAME not in archive.namelist()
        assert b"It has not been measured" in archive.read("README.md")


def test_a_folder_of_another_name_gets_its_own_back(tiny, make_model, tmp_path):
    renamed = make_model(tiny, TRAINER).rename(tmp_path / "my model")
    zipped = open_model_folder(share(open_model_folder(renamed), tmp_path / "model.zip"))
    assert zipped.folder.name == f"{TRAINER}__nnUNetPlans__3d_fullres"


def test_a_checkpoint_whose_name_no_shared_file_can_have_is_named(tiny, make_model, tmp_path):
    folder = make_model(tiny, TRAINER, checkpoint="my checkpoint.pth")
    model = open_model_folder(folder, checkpoint_name="my checkpoint.pth")
    with pytest.raises(SharedModelError, match=r"fold_0/my checkpoint\.safetensors"):
        share(model, tmp_path / "model.zip")
    assert not (tmp_path / "model.zip").exists()


def test_stock_nnunet_installs_the_zip_for_it_and_predicts_the_same(tiny, make_model, tmp_path, monkeypatch):
    model = open_model_folder(make_model(tiny, TRAINER, folds=(0, 1)))
    file = share(model, tmp_path / "model.zip", share_for_nnunet)
    monkeypatch.setenv(host.VARIABLE, str(host.EXTERNAL_FOLDER))
    results = tmp_path / "their_results"
    results.mkdir()
    monkeypatch.setattr(model_import, "nnUNet_results", str(results))
    model_import.install_model_from_zip_file(str(file))
    installed = results / "Dataset901_Tiny" / model.folder.name
    images = np.random.default_rng(0).normal(size=(4, 16, 18, 20)).astype(np.float32)
    images[1] = np.nan
    found = []
    for folder in (model.folder, installed):
        predictor = nnUNetPredictor(device=CPU, allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(folder), None, "checkpoint_final.pth")
        assert len(predictor.list_of_parameters) == 2
        properties = {"spacing": [1.0, 1.0, 1.0]}
        found.append(predictor.predict_single_npy_array(images, properties, None, None, False))
    assert np.array_equal(*found)
    assert len(np.unique(found[0])) > 1
    assert open_model_folder(installed).fingerprint == model.fingerprint


def test_weights_that_are_no_tensors_are_named(tiny, make_model, tmp_path):
    folder = make_model(tiny, TRAINER)
    model = open_model_folder(folder)
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    checkpoint["network_weights"]["extra"] = [1]
    torch.save(checkpoint, file)
    with pytest.raises(ModelFolderError, match="fold 0: the weights extra are no tensors"):
        share(model, tmp_path / "model.zip")
