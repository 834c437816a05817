"""A student that starts from its teacher's weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from nnunetv2.run import run_training as host_run

from nnunet_missingmod.training.teacher_folder import TeacherError

WITHOUT_TERMS = {"divergence": "none", "mutual_information": "none"}


def state_of(trainer):
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.fixture
def taught(make_tiny_dataset, preprocess, train_teacher):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    return tiny, train_teacher(tiny)


def test_the_first_step_starts_from_the_teachers_weights(taught, make_method):
    tiny, teacher = taught
    student = make_method("nnUNetTrainerHolderMI", tiny, initial_weights="teacher")
    student.initialize()
    assert not same(state_of(student), state_of(teacher))
    student.on_train_start()
    assert same(state_of(student), state_of(teacher))


def test_the_parallel_student_starts_from_its_parallel_teacher(
    make_tiny_dataset, preprocess, make_method, train_teacher
):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    teacher = train_teacher(tiny, "nnUNetTrainerMedMAPTeacherParallel")
    student = make_method("nnUNetTrainerHolderMIParallel", tiny)
    student.on_train_start()
    assert same(state_of(student), state_of(teacher))


def test_random_weights_are_left_as_they_are(taught, make_method):
    tiny, teacher = taught
    student = make_method("nnUNetTrainerHolderMI", tiny, initial_weights="random")
    student.initialize()
    before = state_of(student)
    student.on_train_start()
    assert same(state_of(student), before)
    assert not same(before, state_of(teacher))


def test_a_continued_training_keeps_its_own_weights_and_needs_no_teacher_to_start(taught, make_method):
    tiny, teacher = taught
    first = make_method("nnUNetTrainerHolderMI", tiny, initial_weights="teacher", **WITHOUT_TERMS)
    first.run_training()
    assert first.frozen_teacher is None
    shutil.rmtree(teacher.output_folder_base)
    resumed = make_method("nnUNetTrainerHolderMI", tiny, initial_weights="teacher", num_epochs=2, **WITHOUT_TERMS)
    resumed.load_checkpoint(f"{first.output_folder}/checkpoint_final.pth")
    resumed.on_train_start()
    assert same(state_of(resumed), state_of(first))
    assert not same(state_of(resumed), state_of(teacher))


def test_a_student_with_another_network_is_refused(taught, make_method):
    tiny, _ = taught
    student = make_method("nnUNetTrainerHolderMIParallel", tiny, teacher="nnUNetTrainerMedMAPTeacher")
    with pytest.raises(TeacherError, match="networks differ.*initial_weights"):
        student.on_train_start()


@pytest.fixture
def stock_model(make_tiny_dataset, preprocess, make_method):
    """A dataset, and a model of stock nnU-Net's network."""
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    trainer = make_method("nnUNetTrainerZeroFill", tiny)
    trainer.run_training()
    return tiny, trainer


def test_a_student_without_channel_encoder_starts_from_a_stock_network(stock_model, make_method):
    tiny, stock = stock_model
    named = {"teacher": "nnUNetTrainerZeroFill", "initial_weights": "teacher"}
    student = make_method("nnUNetTrainerHolderMIEncoderNone", tiny, **named)
    student.on_train_start()
    assert same(dict(student.network.backbone.state_dict()), state_of(stock))
    image = torch.randn(1, 4, 16, 16, 16)
    stock.network.eval()
    student.network.eval()
    assert all(torch.equal(*pair) for pair in zip(student.network(image), stock.network(image), strict=True))


@pytest.mark.parametrize("trainer", ["nnUNetTrainerHolderMI", "nnUNetTrainerHolderMIEncoderSeparate"])
def test_a_student_with_a_channel_encoder_cannot_start_from_a_stock_network(stock_model, make_method, trainer):
    tiny, _ = stock_model
    student = make_method(trainer, tiny, teacher="nnUNetTrainerZeroFill", initial_weights="teacher")
    with pytest.raises(TeacherError, match='"channel_encoder" "none"'):
        student.on_train_start()


@pytest.mark.parametrize("block", [{}, WITHOUT_TERMS], ids=["with terms", "without"])
def test_pretrained_weights_of_the_command_line_go_before_the_teachers(taught, make_method, capsys, block):
    tiny, teacher = taught
    other = make_method("nnUNetTrainerMedMAP", tiny)
    other.run_training()
    student = make_method("nnUNetTrainerHolderMI", tiny, initial_weights="teacher", **block)
    host_run.maybe_load_checkpoint(student, False, False, str(Path(other.output_folder) / "checkpoint_final.pth"))
    given = state_of(student)
    student.on_train_start()
    assert same(state_of(student), given)
    assert not same(given, state_of(teacher))
    assert capsys.readouterr().out.count("keeps the weights that it was given (-pretrained_weights") == 1
