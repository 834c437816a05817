"""The trainers inside nnU-Net's own loop, in-process, on a tiny preprocessed dataset."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_missingmod import absence
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.trainers.nnUNetTrainerModalityDropout import nnUNetTrainerModalityDropout
from nnunet_missingmod.trainers.nnUNetTrainerRDL import nnUNetTrainerRDL
from nnunet_missingmod.trainers.nnUNetTrainerZeroFill import nnUNetTrainerZeroFill

SHORT = {"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 3}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_plot(monkeypatch):
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda self, folder: None)


def make_trainer(kind, tiny, *, configuration="3d_fullres", block=SHORT, **more):
    plans = json.loads(json.dumps(tiny.plans)) | {"continue_training": False}
    plans["configurations"][configuration]["missingmod"] = {**(block or {}), **more}
    return kind(plans, configuration, 0, json.loads(json.dumps(tiny.dataset_json)), CPU)


def steps(trainer, number):
    """Take seeded steps from seeded weights and return the weights."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the host's loader and transforms draw from the global generator
    trainer.initialize()
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    for _ in range(number):
        trainer.train_step(next(trainer.dataloader_train))
    return trainer.network.state_dict()


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres", "3d_resenc"])
def test_zero_fill_has_exactly_the_weights_of_stock_nnunet_after_some_steps(
    make_tiny_dataset, preprocess, configuration
):
    tiny = make_tiny_dataset()
    preprocess(tiny, configuration)
    plans = {**tiny.plans, "continue_training": False}
    stock = steps(nnUNetTrainer(plans, configuration, 0, tiny.dataset_json, CPU), 4)
    ours = steps(make_trainer(nnUNetTrainerZeroFill, tiny, configuration=configuration, block={}), 4)
    assert stock.keys() == ours.keys()
    for name in stock:
        assert torch.equal(stock[name], ours[name]), name


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres", "3d_resenc", "3d_lowres"])
def test_dropout_trains_validates_and_predicts(make_tiny_dataset, preprocess, configuration, capsys):
    tiny = make_tiny_dataset()
    preprocess(tiny, configuration)
    trainer = make_trainer(nnUNetTrainerModalityDropout, tiny, configuration=configuration)
    before = {k: v.clone() for k, v in steps(trainer, 0).items()}
    trainer.run_training()
    log = capsys.readouterr().out
    assert "Pseudo dice with 1 of 4 modalities" in log
    assert any(not torch.equal(before[k], v) for k, v in trainer.network.state_dict().items())
    predictor = nnUNetPredictor(device=CPU, use_mirroring=True, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,), "checkpoint_final.pth")
    assert predictor.configuration_manager.preprocessor_name == "MissingModPreprocessor"
    data = torch.randn(4, 16 if len(trainer.configuration_manager.patch_size) == 3 else 1, 20, 16)
    absence.mark(data[None], torch.tensor([[False, True, False, True]]))
    logits = predictor.predict_logits_from_preprocessed_data(data)
    assert torch.isfinite(logits).all()
    zeros = torch.nan_to_num(data)
    assert torch.equal(predictor.predict_logits_from_preprocessed_data(zeros), logits)


def test_regions_and_ignore_label(make_tiny_dataset, preprocess):
    regions = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    tiny = make_tiny_dataset(labels=regions, regions_class_order=[1, 2])
    preprocess(tiny, "3d_fullres")
    make_trainer(nnUNetTrainerModalityDropout, tiny).run_training()


def test_cascade_trains_with_the_previous_stage_never_dropped(make_tiny_dataset, preprocess):
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    trainer = make_trainer(nnUNetTrainerModalityDropout, tiny, configuration="3d_cascade_fullres")
    folder = trainer.folder_with_segs_from_previous_stage
    Path(folder).mkdir(parents=True)
    for case in tiny.cases:
        seg = nnUNetDatasetBlosc2(str(tiny.preprocessed / "nnUNetPlans_3d_fullres"), [case]).load_case(case)[1][:]
        nnUNetDatasetBlosc2.save_seg(np.maximum(seg[0], 0).astype(np.int8), f"{folder}/{case}")
    seen = []
    trainer.initialize()
    trainer.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    trainer.run_training()
    assert all(batch.shape[1] == 4 + 3 for batch in seen)
    assert all(torch.isfinite(batch).all() for batch in seen)
    assert any((batch[:, :4].flatten(2) == 0).all(2).any() for batch in seen)


def test_every_step_sees_a_subset_that_dropout_drew(make_tiny_dataset, preprocess, monkeypatch):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    trainer = make_trainer(nnUNetTrainerModalityDropout, tiny)
    trainer.initialize()
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    seen = []
    monkeypatch.setattr(
        nnUNetTrainer, "train_step", lambda self, batch: seen.append(absence.read(batch["data"])) or {"loss": 0}
    )
    for _ in range(30):
        trainer.train_step(next(trainer.dataloader_train))
    kept = torch.cat(seen)
    assert kept.any(1).all()
    assert 1.4 < kept.sum(1).float().mean() < 2.9  # the expectation is 32 / 15
    trainer.on_train_epoch_start()
    again = trainer.dropout.sample(np.ones((2, 4), dtype=bool))
    np.testing.assert_array_equal(again, kept[:2].numpy())


def test_incomplete_training_cases_train(make_tiny_dataset, preprocess):
    tiny = make_tiny_dataset()
    for case, channel in (("case_000", 0), ("case_000", 2), ("case_001", 3)):
        tiny.image(case, channel).unlink()
    preprocess(tiny, "3d_fullres", preprocessor="MissingModPreprocessor")
    for kind in (nnUNetTrainerModalityDropout, nnUNetTrainerZeroFill):
        trainer = make_trainer(kind, tiny)
        trainer.run_training()
        assert all(torch.isfinite(value).all() for value in trainer.network.state_dict().values())


def test_choices_come_from_the_class_then_the_plans_and_are_written_into_the_model_folder(
    make_tiny_dataset, preprocess
):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    trainer = make_trainer(
        nnUNetTrainerModalityDropout, tiny, modality_dropout="bernoulli", initial_lr=0.003, momentum=0.9
    )
    trainer.run_training()
    assert (trainer.num_epochs, trainer.initial_lr) == (1, 0.003)
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.9
    written = json.loads(
        (tiny.results / "nnUNetTrainerModalityDropout__nnUNetPlans__3d_fullres/plans.json").read_text()
    )
    block = written["configurations"]["3d_fullres"]["missingmod"]
    assert block["modality_dropout"] == "bernoulli"
    assert block["validation_subsets"] == "cycle"
    assert block["num_iterations_per_epoch"] == 2
    assert written["configurations"]["3d_fullres"]["preprocessor_name"] == "MissingModPreprocessor"


def test_continued_training_resumes_epoch_weights_and_draws(make_tiny_dataset, preprocess):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    first = make_trainer(nnUNetTrainerModalityDropout, tiny, num_epochs=1)
    first.run_training()
    second = make_trainer(nnUNetTrainerModalityDropout, tiny, num_epochs=2)
    second.load_checkpoint(f"{first.output_folder}/checkpoint_final.pth")
    assert second.current_epoch == 1
    for name, value in first.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], value)
    second.run_training()
    assert second.current_epoch == 2


def test_stock_checkpoints_load_and_ours_load_in_stock(make_tiny_dataset):
    tiny = make_tiny_dataset()
    stock = nnUNetTrainer({**tiny.plans, "continue_training": False}, "3d_fullres", 0, tiny.dataset_json, CPU)
    ours = make_trainer(nnUNetTrainerModalityDropout, tiny)
    networks = [
        trainer.build_network_architecture(trainer.plans_manager, trainer.configuration_manager, 4, 4, True)
        for trainer in (stock, ours)
    ]
    networks[0].load_state_dict(networks[1].state_dict())
    networks[1].load_state_dict(networks[0].state_dict())


def test_foreign_preprocessor_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    tiny.plans["configurations"]["3d_fullres"]["preprocessor_name"] = "MyPreprocessor"
    with pytest.raises(ValueError, match="'MyPreprocessor' does not know absent modalities"):
        make_trainer(nnUNetTrainerZeroFill, tiny)


def test_unknown_key_is_refused_before_anything_starts(make_tiny_dataset):
    tiny = make_tiny_dataset()
    with pytest.raises(ValueError, match="unknown key 'num_epoch'; the nearest known one is 'num_epochs'"):
        make_trainer(nnUNetTrainerZeroFill, tiny, num_epoch=3)


def test_a_block_that_nothing_would_read_is_refused_before_anything_starts(make_tiny_dataset):
    tiny = make_tiny_dataset()
    block = {"modality_dropout": "uniform"}
    for place in (tiny.plans, tiny.plans["configurations"], tiny.plans["configurations"]["3d_fullres"]):
        place["MissingMod"] = block
        with pytest.raises(ValueError, match='The plans have "MissingMod" .*, where nothing reads it'):
            make_trainer(nnUNetTrainerZeroFill, tiny)
        del place["MissingMod"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_other_numbers_of_modalities(make_tiny_dataset, preprocess, count):
    names = [f"M{i}" for i in range(count)]
    schemes = (["CTNormalization", "ZScoreNormalization"] * 3)[:count]
    tiny = make_tiny_dataset(names=names, schemes=schemes)
    preprocess(tiny, "3d_fullres")
    make_trainer(nnUNetTrainerModalityDropout, tiny).run_training()


@pytest.mark.parametrize("name", ["nnUNetTrainerModalityDropout", "nnUNetTrainerMedMAP", "nnUNetTrainerSharedBackbone"])
def test_thirty_modalities_are_trained_on_without_listing_their_subsets(make_tiny_dataset, preprocess, name):
    tiny = make_tiny_dataset([f"time {frame}" for frame in range(30)])
    preprocess(tiny, "2d")
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    trainer = make_trainer(kind, tiny, configuration="2d", num_iterations_per_epoch=1, num_val_iterations_per_epoch=4)
    trainer.run_training()
    assert all(torch.isfinite(value).all() for value in trainer.network.state_dict().values())


def test_thirty_modalities_are_too_many_for_every_subset_in_each_step(make_tiny_dataset):
    tiny = make_tiny_dataset([f"time {frame}" for frame in range(30)], num_cases=0)
    with pytest.raises(ValueError, match="1,073,741,823 subsets in each step"):
        make_trainer(nnUNetTrainerRDL, tiny)
