"""Models that an earlier version trained are read as they were: same weights, predictions and state of training.

`stored_models/` was written by the code of commit 0c9f035 (nnunetv2 2.8.1, torch 2.14.1): four models trained for 120
steps on one case, what they predict of another under each subset of its modalities, their fingerprints, and the names
of the classes that nnU-Net found. Voxels whose two likeliest labels differ by less than 0.002 in probability are not
compared: nnU-Net adds up logits in half precision, which another processor may round the other way.
"""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_missingmod import Predictor
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card, write_card
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.modalities import all_subsets, subset_name
from nnunet_missingmod.plans_block import resolve

STORED = Path(__file__).parent / "stored_models"
OFFERED = json.loads((STORED / "facts.json").read_text(encoding="utf-8"))["classes"]
FACTS = json.loads((STORED / "facts.json").read_text(encoding="utf-8"))["models"]
ARRAYS = np.load(STORED / "case_and_predictions.npz")
NAMES = ("FLAIR", "T1", "T1ce")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    for name in NAMES:
        sitk.WriteImage(sitk.GetImageFromArray(ARRAYS[f"image/{name}"]), str(folder / f"{name}.nii.gz"))
    return {name: folder / f"{name}.nii.gz" for name in NAMES}


@pytest.mark.parametrize("name", FACTS)
def test_a_model_trained_before_predicts_the_same(name, images):
    predictor = Predictor.from_model_folder(STORED / name, device="cpu")
    for subset in all_subsets(len(NAMES)):
        key = f"{name}/{subset_name(subset, NAMES)}"
        made = predictor.predict({NAMES[channel]: images[NAMES[channel]] for channel in subset}, probabilities=True)
        decided = ARRAYS[f"decided/{key}"]
        assert decided.mean() > 0.99
        assert np.array_equal(made.array[decided], ARRAYS[key][decided]), key
        assert made.probabilities is not None
        means = made.probabilities.astype(np.float64).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(means, ARRAYS[f"mean_probability/{key}"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", FACTS)
def test_fingerprints_stay_so_that_model_cards_and_teachers_stay_valid(name):
    model = open_model_folder(STORED / name)
    assert model.fingerprint == FACTS[name]["fingerprint"]
    assert model.fold_fingerprints == FACTS[name]["fold_fingerprints"]


def test_a_card_that_was_written_before_is_read_and_written_as_it_was(tmp_path):
    """``missingmod_card.json`` is of commit d9daf04, before cards had calibrations of single cases."""
    card = read_card(STORED / FILE_NAME)
    assert card.expected(["T1", "T1ce"]).mean.mean == pytest.approx(0.82)
    assert card.uncertainty == {}
    write_card(card, tmp_path / FILE_NAME)
    assert (tmp_path / FILE_NAME).read_bytes() == (STORED / FILE_NAME).read_bytes()


@pytest.mark.parametrize("name", FACTS)
def test_a_training_that_was_started_before_is_continued(name, tmp_path, monkeypatch):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    plans = json.loads((STORED / name / "plans.json").read_text(encoding="utf-8")) | {"continue_training": True}
    dataset_json = json.loads((STORED / name / "dataset.json").read_text(encoding="utf-8"))
    (tmp_path / "nnUNet_preprocessed" / "Dataset902_Stored").mkdir(parents=True)
    shutil.copy(STORED / name / "dataset.json", tmp_path / "nnUNet_preprocessed" / "Dataset902_Stored")
    kind = getattr(import_module(CLASS_TABLE[FACTS[name]["trainer"]]), FACTS[name]["trainer"])
    trainer = kind(plans, FACTS[name]["configuration"], 0, dataset_json, torch.device("cpu"))
    # By the files in it nnU-Net tells which dataset class to use.
    Path(trainer.preprocessed_dataset_folder).mkdir(parents=True)
    Path(trainer.preprocessed_dataset_folder, "nothing.b2nd").touch()
    trainer.initialize()
    file = STORED / name / "fold_0" / "checkpoint_final.pth"
    trainer.load_checkpoint(str(file))
    assert trainer.current_epoch == 4
    saved = torch.load(file, map_location="cpu", weights_only=False)
    for key, value in saved["network_weights"].items():
        assert torch.equal(trainer.network.state_dict()[key], value), key
    state, restored = saved["optimizer_state"], trainer.optimizer.state_dict()
    assert restored.keys() == state.keys()
    terms = state.get("missingmod_terms", {"terms": {}})["terms"]
    for key, value in terms.items():
        assert torch.equal(restored["missingmod_terms"]["terms"][key], value), key
    for index, of_parameter in state["state"].items():
        assert torch.equal(restored["state"][index]["momentum_buffer"], of_parameter["momentum_buffer"])


def test_names_that_land_in_checkpoints_and_result_folders_are_still_there():
    assert set(CLASS_TABLE) >= set(OFFERED)


@pytest.mark.parametrize("name", FACTS)
def test_keys_that_land_in_plans_are_still_known_and_accept_what_they_did(name):
    plans = json.loads((STORED / name / "plans.json").read_text(encoding="utf-8"))
    block = plans["configurations"][FACTS[name]["configuration"]]["missingmod"]
    assert len(block) > 10
    assert {key: value for key, value in resolve(block).items() if key in block} == block
