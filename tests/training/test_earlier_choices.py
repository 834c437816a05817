"""Trainings that an earlier version began are continued: what it wrote otherwise is not another choice."""

from __future__ import annotations

import pytest
import torch

from nnunet_missingmod.training.earlier_choices import as_written_now

NAMES = ("FLAIR", "T1", "T1ce", "T2")


def test_what_was_written_otherwise_is_as_it_is_now():
    then = {"segmentation_from": 0.0667, "modality_subset": [2, 0], "alignment_weight": 1.0}
    found = as_written_now(then, {"segmentation_from": 0.0666}, NAMES)
    assert found == {
        "modality_subsets": "none",
        "segmentation_from": 0.0666,
        "modality_subset": [0, 2],
        "alignment_weight": 1.0,
    }
    now = {"modality_subsets": {"T1": 1}, "segmentation_from": 0.5, "modality_subset": "all"}
    assert as_written_now(now, now, NAMES) == now
    chosen = {"segmentation_from": 0.0667}
    assert as_written_now(chosen, chosen, NAMES)["segmentation_from"] == 0.0667


def write_checkpoint(trainer, **choices):
    """Write a checkpoint whose plans hold other choices."""
    trainer.initialize()
    file = f"{trainer.output_folder}/checkpoint_latest.pth"
    trainer.save_checkpoint(file)
    checkpoint = torch.load(file, weights_only=False)
    checkpoint["init_args"]["plans"]["configurations"]["2d"]["missingmod"].update(choices)
    torch.save(checkpoint, file)
    return file


@pytest.fixture
def tiny(make_tiny_dataset, preprocess):
    dataset = make_tiny_dataset()
    preprocess(dataset, "2d")
    return dataset


@pytest.mark.parametrize(
    ("name", "block", "former"),
    [
        ("nnUNetTrainerRFNet", {}, {"segmentation_from": 0.0667}),
        ("nnUNetTrainerModalityDropout", {"modality_subset": [0, 1]}, {"modality_subset": [1, 0]}),
    ],
)
def test_a_training_of_an_earlier_version_goes_on(tiny, make_method, name, block, former):
    file = write_checkpoint(make_method(name, tiny, configuration="2d", **block), **former)
    again = make_method(name, tiny, configuration="2d", **block)
    again.load_checkpoint(file)
    assert again.current_epoch == 1


def test_a_teacher_of_a_subset_is_to_be_trained_anew(tiny, make_method):
    name = "nnUNetTrainerMedMAPTeacher"
    file = write_checkpoint(make_method(name, tiny, configuration="2d"), modality_subset=[1])
    with pytest.raises(ValueError, match=r"trained on \w+ alone, .* teacher sees all modalities\. Train it anew"):
        make_method(name, tiny, configuration="2d").load_checkpoint(file)
