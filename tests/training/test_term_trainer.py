"""Terms beside modality dropout on the network that stock nnU-Net builds: its names of weights, its start, its loop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_missingmod.losses.pooled_dice import PooledDiceLoss
from nnunet_missingmod.networks.reference_unet import ReferenceUNet
from nnunet_missingmod.planning.reference_planner import reference_architecture
from nnunet_missingmod.trainers.families.nnUNetTrainerACN import nnUNetTrainerACN
from nnunet_missingmod.trainers.families.nnUNetTrainerGGMD import nnUNetTrainerGGMD
from nnunet_missingmod.trainers.nnUNetTrainerModalityDropout import nnUNetTrainerModalityDropout
from nnunet_missingmod.training.method_trainer import MethodTrainer

CPU = torch.device("cpu")
SHORT = {"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 3}


class DropoutAndDivergence(MethodTrainer, nnUNetTrainerModalityDropout):
    """Modality dropout, and the divergence from the labels."""

    network = "stock"
    divergence = "jensen_shannon"
    divergence_target = "label"


class DropoutTaughtByStock(MethodTrainer, nnUNetTrainerModalityDropout):
    """Modality dropout, and the features of a stock nnU-Net that sees all modalities."""

    network = "stock"
    mutual_information = "teacher"
    teacher = "nnUNetTrainer"
    initial_weights = "teacher"


@pytest.fixture
def tiny(make_tiny_dataset, preprocess):
    made = make_tiny_dataset()
    preprocess(made, "3d_fullres")
    return made


def make(kind, tiny, **block):
    plans = json.loads(json.dumps(tiny.plans)) | {"continue_training": False}
    if kind is not nnUNetTrainer:
        plans["configurations"]["3d_fullres"]["missingmod"] = {**SHORT, **block}
    return kind(plans, "3d_fullres", 0, json.loads(json.dumps(tiny.dataset_json)), CPU)


def test_a_term_joins_modality_dropout_and_the_weights_keep_stock_names(tiny):
    trainer = make(DropoutAndDivergence, tiny)
    trainer.run_training()
    assert trainer.choices["modality_dropout"] == "uniform"
    assert np.isfinite(trainer.logger.get_value("loss_divergence", -1))
    stock = make(nnUNetTrainer, tiny)
    stock.initialize()
    assert trainer.network.state_dict().keys() == stock.network.state_dict().keys()
    stock.network.load_state_dict(trainer.network.state_dict())


def test_without_the_term_the_step_is_that_of_modality_dropout(tiny):
    results = []
    for kind, block in ((DropoutAndDivergence, {"divergence": "none"}), (nnUNetTrainerModalityDropout, {})):
        trainer = make(kind, tiny, **block)
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - the host's loader and transforms draw from the global generator
        trainer.on_train_start()
        trainer.on_train_epoch_start()
        for _ in range(2):
            trainer.train_step(next(trainer.dataloader_train))
        results.append(trainer.network.state_dict())
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_a_stock_model_teaches_it_and_is_its_start(tiny):
    stock = make(nnUNetTrainer, tiny)
    stock.num_epochs, stock.num_iterations_per_epoch, stock.num_val_iterations_per_epoch = 1, 1, 1
    stock.run_training()
    student = make(DropoutTaughtByStock, tiny)
    student.on_train_start()
    for name, value in stock.network.state_dict().items():
        assert torch.equal(student.network.state_dict()[name], value), name
    student.on_train_epoch_start()
    student.train_step(next(student.dataloader_train))
    assert torch.isfinite(student.loss.values[0]["mutual_information"])
    assert student.samples_taught == (2, 2)


# Dynamo looks at what a hook keeps, which is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_exact_surgery_steps_on_a_compiled_network_as_on_a_plain_one(tiny):
    losses = []
    for compiled in (False, True):
        trainer = make(nnUNetTrainerGGMD, tiny, num_iterations_per_epoch=1)
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - the host's loader and transforms draw from the global generator
        trainer.initialize()
        if compiled:  # as nnU-Net does on a GPU; this backend goes through torch's compiled backward pass
            trainer.network = torch.compile(trainer.network, backend="aot_eager")
        trainer.on_train_start()
        trainer.on_train_epoch_start()
        batches = [next(trainer.dataloader_train) for _ in range(2)]
        losses.append([trainer.train_step(batch)["loss"] for batch in batches])
    np.testing.assert_allclose(*losses, rtol=1e-3)
    torch._dynamo.reset()


@pytest.mark.parametrize("compiles", [True, False])
def test_a_partner_is_compiled_where_nnunet_compiles_the_network(tiny, compiles):
    trainer = make(nnUNetTrainerACN, tiny)
    trainer._do_i_compile = lambda: compiles
    trainer.initialize()
    # What ``nn.Module.compile`` sets, and a compiled pass goes through.
    assert (trainer.terms.partner_network._compiled_call_impl is not None) == compiles


def use_reference_network(tiny):
    architecture = reference_architecture(3, widths=(8, 8, 16))
    tiny.plans["configurations"]["3d_fullres"]["architecture"] = architecture


@pytest.mark.parametrize("regions", [False, True])
def test_rdls_reference_trains_with_adam_and_dice_without_deep_supervision(
    make_tiny_dataset, preprocess, make_method, regions
):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [3]} if regions else None
    tiny = make_tiny_dataset(labels=labels, regions_class_order=(1, 3) if regions else None)
    use_reference_network(tiny)
    preprocess(tiny, "3d_fullres")
    trainer = make_method("nnUNetTrainerRDLReference", tiny)
    trainer.run_training()
    assert isinstance(trainer.optimizer, torch.optim.Adam)
    network, heads = trainer.optimizer.param_groups
    assert (network["weight_decay"], heads["weight_decay"], trainer.initial_lr) == (1e-5, 1e-5, 8e-4)
    assert isinstance(trainer.terms.segmentation, PooledDiceLoss)
    assert isinstance(trainer.network.backbone, ReferenceUNet)
    again = make_method("nnUNetTrainerRDLReference", tiny, num_epochs=2)
    again.load_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    again.run_training()
    assert np.isfinite(again.logger.get_value("train_losses", -1))


def test_adam_on_the_plans_network_and_the_same_schedule(make_tiny_dataset, preprocess, make_method):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    trainer = make_method("nnUNetTrainerMedMAP", tiny, optimizer_kind="adam", initial_lr=0.001, num_epochs=2)
    trainer.run_training()
    assert isinstance(trainer.optimizer, torch.optim.Adam)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.001 * 0.5**0.9)
    with pytest.raises(ValueError, match='momentum does nothing, because optimizer_kind is "adam"'):
        make_method("nnUNetTrainerMedMAP", tiny, optimizer_kind="adam", momentum=0.9)
