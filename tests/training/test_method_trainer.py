"""The methods' trainers inside nnU-Net's own loop, in-process, on a tiny preprocessed dataset."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from starting import start

from nnunet_missingmod import absence
from nnunet_missingmod.choices import TEACHERS, TRAINERS
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.training.method_trainer import MethodTrainer
from nnunet_missingmod.training.teacher_folder import TeacherError

CPU = torch.device("cpu")
ABLATIONS = TRAINERS["Ablations"][1]
METHODS = [
    name
    for _, names in TRAINERS.values()
    for name in names
    if name not in ABLATIONS and issubclass(getattr(import_module(CLASS_TABLE[name]), name), MethodTrainer)
]


def steps(trainer, number):
    for _ in range(number):
        trainer.train_step(next(trainer.dataloader_train))


def copies(tensors):
    return {name: value.clone() for name, value in tensors.items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("name", METHODS)
def test_trains_continues_and_predicts_with_absent_modalities_without_its_teacher(
    make_tiny_dataset, preprocess, make_method, train_teacher, name, capsys
):
    tiny = make_tiny_dataset()
    # benchmarks/every_trainer.py takes all of them through both, by nnU-Net's commands.
    configuration = "2d" if name in TRAINERS["Families"][1] else "3d_fullres"
    preprocess(tiny, configuration)
    kind = getattr(import_module(CLASS_TABLE[name]), name)
    teachers = kind.teacher if getattr(kind, "teacher", "auto") != "auto" else "nnUNetTrainerMedMAPTeacher"
    teacher = None
    if teachers != "average":
        teacher = train_teacher(tiny, name if name in TEACHERS else teachers, configuration=configuration)
    if name in TEACHERS:
        trainer = teacher
    else:
        trainer = make_method(name, tiny, configuration=configuration)
        trainer.run_training()
    for term in trainer.term_weights:
        if trainer.term_weights.keys() != {"segmentation"}:
            (value,) = trainer.logger.get_value(f"loss_{term}", None)
            assert np.isfinite(value)
    # --c goes on
    resumed = make_method(name, tiny, configuration=configuration, num_epochs=2)
    resumed.load_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    assert_same(trainer.network.state_dict(), resumed.network.state_dict())
    assert_same(trainer.terms.state_dict(), resumed.terms.state_dict())
    resumed.run_training()
    assert resumed.current_epoch == 2
    # prediction by the stock predictor
    if teacher is not None and trainer is not teacher:
        shutil.rmtree(teacher.output_folder_base)
    predictor = nnUNetPredictor(device=CPU, use_mirroring=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(resumed.output_folder_base, (0,), "checkpoint_final.pth")
    assert predictor.network.state_dict().keys() == trainer.network.state_dict().keys()
    data = torch.randn(4, 16, 20, 16)
    absence.mark(data[None], torch.tensor([[False, True, False, True]]))
    logits = predictor.predict_logits_from_preprocessed_data(data)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("configuration", ["2d", "3d_resenc"])
def test_the_flagship_trains_in_other_configurations(
    make_tiny_dataset, preprocess, make_method, train_teacher, configuration
):
    tiny = make_tiny_dataset()
    preprocess(tiny, configuration)
    train_teacher(tiny, configuration=configuration)
    make_method("nnUNetTrainerHolderMI", tiny, configuration=configuration).run_training()
    make_method("nnUNetTrainerRDL", tiny, configuration=configuration).run_training()


def test_the_flagship_and_rdl_train_on_regions_with_an_ignore_label(
    make_tiny_dataset, preprocess, make_method, train_teacher
):
    regions = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    tiny = make_tiny_dataset(labels=regions, regions_class_order=[1, 2])
    preprocess(tiny, "3d_fullres")
    train_teacher(tiny)
    for name in ("nnUNetTrainerHolderMI", "nnUNetTrainerRDL"):
        trainer = make_method(name, tiny)
        trainer.run_training()
        assert np.isfinite(trainer.logger.get_value("loss_divergence", -1))


def test_labels_with_an_ignore_label(make_tiny_dataset, preprocess, make_method):
    tiny = make_tiny_dataset(labels={"background": 0, "a": 1, "b": 2, "ignore": 3})
    preprocess(tiny, "3d_fullres")
    trainer = make_method("nnUNetTrainerRDL", tiny)
    trainer.run_training()
    assert np.isfinite(trainer.logger.get_value("loss_divergence", -1))


def test_the_flagship_trains_in_a_cascade(make_tiny_dataset, preprocess, make_method, train_teacher):
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    for name in (
        "nnUNetTrainerMedMAPTeacher",
        "nnUNetTrainerMedMAPTeacherParallel",
        "nnUNetTrainerHolderMI",
        "nnUNetTrainerHolderMIParallel",
    ):
        trainer = make_method(name, tiny, configuration="3d_cascade_fullres")
        folder = trainer.folder_with_segs_from_previous_stage
        Path(folder).mkdir(parents=True)
        for case in tiny.cases:
            seg = nnUNetDatasetBlosc2(str(tiny.preprocessed / "nnUNetPlans_3d_fullres"), [case]).load_case(case)[1][:]
            nnUNetDatasetBlosc2.save_seg(np.maximum(seg[0], 0).astype(np.int8), f"{folder}/{case}")
        trainer.run_training()


def test_every_ablation_takes_a_step_that_moves_the_weights(make_tiny_dataset, preprocess, make_method, train_teacher):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    train_teacher(tiny)
    assert ABLATIONS
    for name in ABLATIONS:
        trainer = start(make_method(name, tiny))
        before = copies(trainer.network.state_dict())
        steps(trainer, 1)
        assert all(torch.isfinite(value).all() for value in trainer.network.state_dict().values()), name
        assert any(not torch.equal(before[k], v) for k, v in trainer.network.state_dict().items()), name


def test_incomplete_training_cases_train_without_the_teachers_word_on_them(
    make_tiny_dataset, preprocess, make_method, train_teacher, capsys
):
    tiny = make_tiny_dataset(num_cases=3)
    preprocessed = preprocess(tiny, "3d_fullres")
    train_teacher(tiny)
    shutil.rmtree(preprocessed)
    for case in tiny.cases:
        tiny.image(case, 1).unlink()
    preprocess(tiny, "3d_fullres", preprocessor="MissingModPreprocessor")
    trainer = make_method("nnUNetTrainerHolderMI", tiny)
    trainer.run_training()
    assert "The teacher had 0 of 4 samples with all of its modalities" in capsys.readouterr().out
    assert trainer.logger.get_value("loss_divergence", -1) == 0
    assert all(torch.isfinite(value).all() for value in trainer.network.state_dict().values())
    rdl = make_method("nnUNetTrainerRDL", tiny)
    rdl.run_training()
    assert all(torch.isfinite(value).all() for value in rdl.network.state_dict().values())


def test_the_teacher_is_unchanged_and_in_no_checkpoint(make_tiny_dataset, preprocess, make_method, train_teacher):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    file = Path(train_teacher(tiny).output_folder) / "checkpoint_final.pth"
    digest = hashlib.sha256(file.read_bytes()).digest()
    trainer = start(make_method("nnUNetTrainerHolderMI", tiny))
    network = trainer.frozen_teacher._network
    before = copies(network.state_dict())
    data = torch.randn(1, 4, 16, 16, 16)
    said = trainer.frozen_teacher(data, torch.ones(1, 4, dtype=torch.bool))
    steps(trainer, 3)
    assert_same(before, network.state_dict())
    again = trainer.frozen_teacher(data, torch.ones(1, 4, dtype=torch.bool))
    assert torch.equal(said.logits, again.logits)
    assert not said.logits.requires_grad
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert hashlib.sha256(file.read_bytes()).digest() == digest
    trainer.on_train_end()
    weights = torch.load(f"{trainer.output_folder}/checkpoint_final.pth", weights_only=False)["network_weights"]
    plain = trainer.build_network_architecture(trainer.plans_manager, trainer.configuration_manager, 4, 4, True)
    assert weights.keys() == plain.state_dict().keys()


def test_what_learns_beside_the_network_learns_and_survives_a_checkpoint_bit_for_bit(
    make_tiny_dataset, preprocess, make_method, train_teacher
):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    train_teacher(tiny)
    first = start(make_method("nnUNetTrainerHolderMI", tiny))
    initial = copies(dict(first.terms.named_parameters()))
    steps(first, 2)
    for name, parameter in first.terms.named_parameters():
        assert not torch.equal(initial[name], parameter), name
    file = f"{first.output_folder}/checkpoint_latest.pth"
    first.save_checkpoint(file)
    second = make_method("nnUNetTrainerHolderMI", tiny)
    second.load_checkpoint(file)
    start(second)
    assert_same(first.terms.state_dict(), second.terms.state_dict())
    # The next step on the same batch is the same one: momentum of all parameters survived, too.
    batch = next(first.dataloader_train)
    for trainer in (first, second):
        trainer.lr_scheduler.step(0)
        trainer.dropout.start_epoch(5)
        trainer.terms.start_epoch(5)
        for group in trainer.optimizer.param_groups:
            group["lr"] = 0.01
        trainer.train_step({"data": batch["data"].clone(), "target": [level.clone() for level in batch["target"]]})
    assert_same(first.network.state_dict(), second.network.state_dict())
    assert_same(first.terms.state_dict(), second.terms.state_dict())


def test_a_checkpoint_without_the_terms_is_refused(make_tiny_dataset, preprocess, make_method):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    trainer = make_method("nnUNetTrainerMedMAP", tiny)
    trainer.run_training()
    file = f"{trainer.output_folder}/checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    del checkpoint["optimizer_state"]["missingmod_terms"]
    torch.save(checkpoint, file)
    with pytest.raises(ValueError, match="holds no state of the loss terms"):
        make_method("nnUNetTrainerMedMAP", tiny).load_checkpoint(file)


def test_a_training_is_not_continued_with_other_choices_or_another_teacher(
    make_tiny_dataset, preprocess, make_method, train_teacher
):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    train_teacher(tiny)
    trainer = make_method("nnUNetTrainerHolderMI", tiny)
    trainer.run_training()
    file = f"{trainer.output_folder}/checkpoint_final.pth"
    with pytest.raises(ValueError, match=r"other choices: divergence was 'holder_proper', is 'kullback_leibler'\. Set"):
        make_method("nnUNetTrainerHolderMI", tiny, divergence="kullback_leibler").load_checkpoint(file)
    longer = make_method("nnUNetTrainerHolderMI", tiny, num_epochs=2)
    longer.load_checkpoint(file)
    train_teacher(tiny)
    with pytest.raises(TeacherError, match="started with other weights of its teacher"):
        longer.run_training()


def test_mixture_weights_learn_at_their_own_rate_and_are_logged(make_tiny_dataset, preprocess, make_method, capsys):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    trainer = make_method("nnUNetTrainerMedMAP", tiny, mixture_learning_rate_factor=0.5, num_epochs=2)
    trainer.run_training()
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert rates[1] == pytest.approx(0.5 * rates[0])
    logged = trainer.logger.get_value("mixture_weights", None)
    assert len(logged) == 2
    assert sum(logged[-1]) == pytest.approx(1)
    assert "mixture weights {'FLAIR': 0.9" in capsys.readouterr().out
    frozen = make_method("nnUNetTrainerMedMAP", tiny, mixture_learning_rate_factor=0)
    frozen.run_training()
    np.testing.assert_allclose(frozen.logger.get_value("mixture_weights", -1), [0.99, *[0.01 / 3] * 3], rtol=1e-5)


def test_what_learns_beside_the_network_has_the_networks_optimiser(make_tiny_dataset, preprocess, make_method):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    trainer = make_method(
        "nnUNetTrainerRDL", tiny, channel_encoder="shared", alignment_anchor="mixture", momentum=0.8, weight_decay=0.01
    )
    trainer.initialize()
    network, mixture, heads = trainer.optimizer.param_groups
    assert (network["momentum"], mixture["momentum"], heads["momentum"]) == (0.8, 0.8, 0.8)
    assert (network["weight_decay"], mixture["weight_decay"], heads["weight_decay"]) == (0.01, 0.0, 0.01)
    assert len(mixture["params"]) == 1
    assert len(heads["params"]) == len(list(trainer.terms.mutual_information.parameters()))


def test_gradients_beside_the_network_are_clipped(make_tiny_dataset, preprocess, make_method):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    trainer = start(make_method("nnUNetTrainerRDL", tiny))
    parameters = list(trainer.terms.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 100.0)
    trainer.optimizer.step()
    norm = torch.stack([parameter.grad.norm() for parameter in parameters]).norm()
    assert float(norm) == pytest.approx(12, rel=1e-3)


def test_distillation_warms_up_over_epochs(make_tiny_dataset, preprocess, make_method, train_teacher):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    train_teacher(tiny)
    trainer = start(make_method("nnUNetTrainerHolderMI", tiny, distillation_warmup_epochs=4, divergence_weight=2.0))
    assert trainer.terms.weights == {"segmentation": 1, "alignment": 0.125, "divergence": 0, "mutual_information": 0}
    trainer.current_epoch = 1
    trainer.on_train_epoch_start()
    assert trainer.terms.weights["divergence"] == 0.5
    assert trainer.terms.weights["mutual_information"] == 0.25
    rdl = start(make_method("nnUNetTrainerRDL", tiny, distillation_warmup_epochs=4))
    assert rdl.terms.weights["divergence"] == 1


def test_the_logged_terms_add_up_to_nnunets_training_loss(make_tiny_dataset, preprocess, make_method, train_teacher):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    train_teacher(tiny)
    for name in ("nnUNetTrainerHolderMI", "nnUNetTrainerRDL"):
        trainer = make_method(name, tiny)
        trainer.run_training()
        total = sum(
            weight * trainer.logger.get_value(f"loss_{term}", 0) for term, weight in trainer.term_weights.items()
        )
        assert float(trainer.logger.get_value("train_losses", 0)) == pytest.approx(total, rel=1e-4)


def test_a_student_without_its_teacher_is_refused_before_epoch_0(make_tiny_dataset, preprocess, make_method):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    trainer = make_method("nnUNetTrainerHolderMI", tiny)
    command = "nnUNetv2_train Dataset901_Tiny 3d_fullres 0 -tr nnUNetTrainerMedMAPTeacher -p nnUNetPlans"
    with pytest.raises(TeacherError, match=command):
        trainer.run_training()
    assert trainer.dataloader_train is None


def test_stock_nnunet_can_teach(make_tiny_dataset, preprocess, make_method):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    plans = json.loads(json.dumps(tiny.plans)) | {"continue_training": False}
    stock = nnUNetTrainer(plans, "3d_fullres", 0, tiny.dataset_json, CPU)
    stock.num_epochs, stock.num_iterations_per_epoch, stock.num_val_iterations_per_epoch = 1, 1, 1
    stock.run_training()
    trainer = start(make_method("nnUNetTrainerHolderMI", tiny, teacher="nnUNetTrainer", initial_weights="random"))
    data = torch.randn(2, 4, 16, 16, 16)
    with torch.no_grad():
        expected = stock.network(data)[0]
    said = trainer.frozen_teacher(data, torch.ones(2, 4, dtype=torch.bool))
    torch.testing.assert_close(said.logits, expected)
    steps(trainer, 1)


def test_the_choices_of_methods_are_written_for_methods_only(make_tiny_dataset, make_method):
    tiny = make_tiny_dataset()
    block = make_method("nnUNetTrainerHolderMI", tiny, divergence_alpha=1.5).choices
    assert (block["network"], block["divergence_alpha"]) == ("early", 1.5)
    assert "network" not in make_method("nnUNetTrainerModalityDropout", tiny, network="parallel").choices


@pytest.mark.parametrize("count", [1, 2, 5])
def test_other_numbers_of_modalities(make_tiny_dataset, preprocess, make_method, train_teacher, count):
    tiny = make_tiny_dataset(names=[f"M{index}" for index in range(count)])
    preprocess(tiny, "3d_fullres")
    train_teacher(tiny)
    train_teacher(tiny, "nnUNetTrainerMedMAPTeacherParallel")
    for name in ("nnUNetTrainerHolderMI", "nnUNetTrainerHolderMIParallel", "nnUNetTrainerRDL"):
        make_method(name, tiny).run_training()


@pytest.mark.parametrize(
    ("more", "fixes"),
    [
        ({"taught_share": 0.5}, 'set "taught_share" to 1, set "contrastive" to false, or use'),
        ({"two_subsets": True}, 'set "two_subsets" to false, set "contrastive" to false, or use'),
        ({"contrastive": False, "taught_share": 0.5}, None),
    ],
)
def test_contrast_asks_for_two_cases_of_a_batch_that_are_taught(make_tiny_dataset, make_method, more, fixes):
    trainer = make_method("nnUNetTrainerPMKL", make_tiny_dataset(), **more)
    trainer.batch_size = 2
    if fixes:
        with pytest.raises(ValueError, match=f"in a batch of 2 one case is taught: {fixes}"):
            trainer._check_contrast()
    else:
        trainer._check_contrast()
    trainer.batch_size = 4
    trainer._check_contrast()
