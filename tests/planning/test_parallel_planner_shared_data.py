"""Preprocessed data are shared with stock plans where both would preprocess alike, and nowhere else."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.plans.MissingModFingerprintExtractor import MissingModFingerprintExtractor
from nnunet_missingmod.plans.MissingModPlanner import MissingModPlanner

PLANNERS = [name for name in CLASS_TABLE if "Planner" in name]
SMALL = ([40, 48, 40], [1.0, 1.0, 1.0])
OWN = {"2d": "nnUNetMissingModPlans_2d", "3d_fullres": "nnUNetMissingModPlans_3d_fullres"}
STOCK = {"2d": "nnUNetPlans_2d", "3d_fullres": "nnUNetPlans_3d_fullres"}


def identifiers(planned):
    return {name: entry["data_identifier"] for name, entry in planned.plans["configurations"].items()}


@pytest.fixture
def stock_plans(make_plans_of):
    return json.loads((make_plans_of(ExperimentPlanner, image=SMALL).folder / "nnUNetPlans.json").read_text())


@pytest.mark.parametrize(
    "planner",
    ["MissingModPlanner", "MissingModPlannerResEncM", "MissingModPlannerResEncL", "MissingModPlannerResEncXL"],
)
def test_data_of_stock_plans_are_used_before_and_after_they_are_made(make_plans_of, stock_plans, planner):
    assert identifiers(make_plans_of(planner, image=SMALL)) == STOCK
    assert identifiers(make_plans_of(planner, image=SMALL, before=stock_plans)) == STOCK


def test_an_identifier_of_stock_plans_is_taken_as_it_is(make_plans_of, stock_plans):
    stock_plans["configurations"]["2d"]["data_identifier"] = "elsewhere"
    assert identifiers(make_plans_of("MissingModPlanner", image=SMALL, before=stock_plans))["2d"] == "elsewhere"


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("configuration", "spacing", [2.0, 1.0, 1.0]),
        ("configuration", "normalization_schemes", ["CTNormalization"] * 4),
        ("configuration", "use_mask_for_norm", [False] * 4),
        ("configuration", "resampling_fn_data", "resample_torch_fornnunet"),
        ("configuration", "resampling_fn_seg_kwargs", {}),
        ("configuration", "preprocessor_name", "Mine"),
        ("plans", "transpose_forward", [2, 0, 1]),
        ("plans", "foreground_intensity_properties_per_channel", {}),
    ],
)
def test_stock_plans_that_preprocess_otherwise_are_not_shared(make_plans_of, stock_plans, place, key, value):
    (stock_plans["configurations"]["3d_fullres"] if place == "configuration" else stock_plans)[key] = value
    found = identifiers(make_plans_of("MissingModPlanner", image=SMALL, before=stock_plans))
    assert found["3d_fullres"] == OWN["3d_fullres"]
    assert found["2d"] == (STOCK if place == "configuration" else OWN)["2d"]


def test_a_spacing_of_the_users_gets_data_of_its_own(make_plans_of, stock_plans):
    spacing = {"overwrite_target_spacing": [2.0, 2.0, 2.0]}
    assert identifiers(make_plans_of("MissingModPlanner", image=SMALL, **spacing)) == OWN
    assert identifiers(make_plans_of("MissingModPlanner", image=SMALL, before=stock_plans, **spacing)) == OWN


def test_a_preprocessor_of_the_users_gets_data_of_its_own(make_plans_of):
    assert identifiers(make_plans_of("MissingModPlanner", image=SMALL, preprocessor_name="Mine")) == OWN


def test_plans_of_another_name_share_too(make_plans_of):
    assert identifiers(make_plans_of("MissingModPlanner", image=SMALL, plans_name="mine")) == STOCK


def test_stock_and_our_trainers_train_on_our_plans_and_the_data_of_stock_plans(
    make_tiny_dataset, preprocess, monkeypatch
):
    tiny = make_tiny_dataset(num_cases=3)
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # the host's planner sets torch's threads to it
    extractor = MissingModFingerprintExtractor(901, 1)
    extractor.num_foreground_voxels_for_intensitystats = 2e4
    extractor.run(overwrite_existing=True)
    tiny.plans = ExperimentPlanner(901).plan_experiment()
    preprocess(tiny, "3d_fullres")
    folders = sorted(path.name for path in tiny.preprocessed.iterdir() if path.is_dir())
    MissingModPlanner(901).plan_experiment()
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    plans = json.loads((tiny.preprocessed / "nnUNetMissingModPlans.json").read_text()) | {"continue_training": False}
    for kind in (nnUNetTrainer, _trainer("nnUNetTrainerSharedBackbone"), _trainer("nnUNetTrainerMedMAPTeacher")):
        trainer = kind(json.loads(json.dumps(plans)), "3d_fullres", 0, tiny.dataset_json, torch.device("cpu"))
        trainer.num_epochs = trainer.num_iterations_per_epoch = trainer.num_val_iterations_per_epoch = 1
        monkeypatch.setattr(trainer.logger.local_logger, "plot_progress_png", lambda folder: None)
        trainer.run_training()
        assert (
            tiny.results / f"{kind.__name__}__nnUNetMissingModPlans__3d_fullres/fold_0/checkpoint_final.pth"
        ).exists()
    assert sorted(path.name for path in tiny.preprocessed.iterdir() if path.is_dir()) == folders


def _trainer(name):
    return getattr(import_module(CLASS_TABLE[name]), name)
