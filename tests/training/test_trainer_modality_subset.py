"""``modality_subset``: a model of some modalities alone, in training, validation and prediction."""

from __future__ import annotations

from math import isfinite

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod.choices import TEACHERS
from nnunet_missingmod.networks.backbone import predict_from_subset, unwrapped
from nnunet_missingmod.training.building import taught_terms
from nnunet_missingmod.training.teacher_folder import TeacherError


@pytest.fixture
def tiny(make_tiny_dataset, preprocess):
    dataset = make_tiny_dataset()
    preprocess(dataset, "2d")
    return dataset


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("name", ["nnUNetTrainerZeroFill", "nnUNetTrainerModalityDropout", "nnUNetTrainerHeMIS"])
def test_it_trains_validates_and_predicts_from_the_subset(tiny, make_method, name):
    channels = list(tiny.dataset_json["channel_names"].values())
    trainer = make_method(name, tiny, configuration="2d", modality_subset=channels[:2])
    assert trainer.choices["modality_subset"] == [0, 1]
    trainer.on_train_start()
    seen = []
    unwrapped(trainer.network).register_forward_pre_hook(
        lambda module, inputs: seen.append(~inputs[0].isnan().flatten(2).any(2)), prepend=True
    )
    trainer.on_train_epoch_start()
    trainer.network.train()
    trainer.train_step(next(trainer.dataloader_train))
    trainer.on_validation_epoch_start()
    trainer.network.eval()
    trainer.validation_step(next(trainer.dataloader_val))
    assert len(seen) == 2
    for kept in seen:
        assert kept[:, :2].all()
        assert not kept[:, 2:].any()
    trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,), "checkpoint_final.pth")
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    x = torch.randn(1, 4, *trainer.configuration_manager.patch_size)
    other = x.clone()
    other[:, 2:] = 7
    assert torch.equal(predictor.network.eval()(x), predictor.network(other))
    other[:, :2] = torch.nan
    with pytest.raises(ValueError, match=r"trained on channels 0, 1 alone .* evaluate this one on --subsets"):
        predictor.network(other)


@pytest.mark.usefixtures("attached")
def test_a_training_case_without_any_of_it_is_refused(tiny, make_method):
    first = next(iter(tiny.dataset_json["channel_names"].values()))
    trainer = make_method("nnUNetTrainerModalityDropout", tiny, configuration="2d", modality_subset=[first])
    with pytest.raises(ValueError, match=f"none of {first}, which is all"):
        trainer.dropout.sample(torch.tensor([[False, True, True, True]]).numpy())


OF_STUDENTS = [
    {"modality_dropout": "uniform"},
    {"modality_dropout": {"T1": 0.5}},
    {"modality_dropout": "uniform", "modality_subsets": {"T1": 1}},
    {"modality_subset": ["T1"]},
    {"modality_dropout": "uniform", "two_subsets": True},
    {"two_subsets": True},
    {"gated_distillation": True, "taught_share": 0.5, "distillation_warmup_epochs": 3},
    {"prototype": True, "contrastive": True},
    {"divergence": "holder_proper", "divergence_alpha": 1.5, "mutual_information": "teacher"},
    {"partner": True, "consistency": True, "mutual_information": "partner"},
    {"teacher": "average", "predict_with": "average", "average_decay": 0.9},
    {"initial_weights": "teacher", "teacher": "nnUNetTrainer"},
    {"network": "parallel", "subset_objective": "enumerate"},
]


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_leaves_to_its_student_what_is_of_subsets_and_of_other_networks(make_tiny_dataset, make_method, name):
    tiny = make_tiny_dataset()
    plain = make_method(name, tiny).choices
    for block in OF_STUDENTS:
        shared = {key: value for key, value in block.items() if key != "network"}
        trainer = make_method(name, tiny, **shared)
        assert trainer.choices == plain
        assert trainer.dropout is None
        assert taught_terms(trainer.choices) == []
    with pytest.raises(ValueError, match="no key 'two_subset'|two_subset"):
        make_method(name, tiny, two_subset=True)
    with pytest.raises(ValueError, match="prototype must be true or false"):
        make_method(name, tiny, prototype="yes")


def test_unknown_channels_and_an_average_that_should_teach_more_are_refused(make_tiny_dataset, make_method):
    tiny = make_tiny_dataset()
    with pytest.raises(ValueError, match="must name channels of .*, got 'T9'"):
        make_method("nnUNetTrainerModalityDropout", tiny, modality_subset=["T9"])
    first = next(iter(tiny.dataset_json["channel_names"].values()))
    with pytest.raises(ValueError, match="cannot teach it more"):
        make_method("nnUNetTrainerHolderMISelf", tiny, modality_subset=[first])


@pytest.mark.usefixtures("attached")
def test_a_teacher_sees_all_though_its_students_plans_name_a_subset(tiny, make_method):
    first = next(iter(tiny.dataset_json["channel_names"].values()))
    teacher = make_method("nnUNetTrainerPMKLTeacher", tiny, configuration="2d", modality_subset=[first])
    assert teacher.choices["modality_subset"] == "all"
    teacher.run_training()
    student = make_method("nnUNetTrainerPMKL", tiny, configuration="2d", modality_subset=[first])
    student.on_train_start()
    student.on_train_epoch_start()
    assert isfinite(student.train_step(next(student.dataloader_train))["loss"])
    # Of a trainer that is there for itself, too, the plans' subset is its own.
    make_method("nnUNetTrainerZeroFill", tiny, configuration="2d", modality_subset=[first]).run_training()
    with pytest.raises(TeacherError, match="a teacher sees all. Train it with plans without that key"):
        make_method("nnUNetTrainerProtoKD", tiny, configuration="2d", modality_subset=[first]).on_train_start()


def test_all_changes_nothing():
    network = torch.nn.Conv2d(1, 1, 1)
    assert predict_from_subset(network, "all", 1) is network
    assert not network._forward_pre_hooks


@pytest.mark.parametrize("subset", [["FLAIR"], [4], "FLAIR", [0, None]])
def test_a_trained_models_subset_is_of_numbers(subset):
    with pytest.raises(ValueError, match="restore what the training wrote"):
        predict_from_subset(torch.nn.Conv2d(4, 1, 1), subset, 4)
