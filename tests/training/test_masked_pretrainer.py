"""Masked pretraining inside nnU-Net's own loop: what it hides and learns, and what starts from it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from starting import start

from nnunet_missingmod import absence
from nnunet_missingmod.inference.model_folder import ModelFolderError, load_predictor, open_model_folder
from nnunet_missingmod.training.masked_pretrainer import PretrainingOnlyError
from nnunet_missingmod.training.teacher_folder import TeacherError

NAME = "nnUNetTrainerMaskedPretraining"
SELF = "nnUNetTrainerHolderMISelf"
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("attached")


@pytest.fixture
def tiny(make_tiny_dataset, preprocess):
    made = make_tiny_dataset()
    for configuration in ("2d", "3d_fullres"):
        preprocess(made, configuration)
    return made


def watched(trainer):
    """Return the list that what the network sees and what the loss asks for are appended to."""
    seen = []
    trainer.network.register_forward_pre_hook(lambda _network, inputs: seen.append([inputs[0].clone()]))
    loss = trainer.loss
    trainer.loss = lambda output, target: seen[-1].extend([output.detach(), *target]) or loss(output, target)
    return seen


@pytest.mark.parametrize("dropout", ["uniform_count", "none"])
def test_it_sees_the_share_that_is_left_and_is_asked_for_everything(make_method, tiny, dropout):
    trainer = start(make_method(NAME, tiny, modality_dropout=dropout, masked_share=0.75))
    seen = watched(trainer)
    for _ in range(6):
        trainer.train_step(next(trainer.dataloader_train))
    counts = set()
    for shown, output, images, present in seen:
        assert output.shape == images.shape == (2, 4, 16, 16, 16)
        assert torch.isfinite(images).all()
        assert present.all()
        for case in range(2):
            kept = absence.read(shown[case : case + 1])[0]
            counts.add(int(kept.sum()))
            visible = (shown[case] == images[case]) & (images[case] != 0)
            # Of all voxels that are not zero anyway; cubes hold them unequally.
            assert visible.sum() / (images[case] != 0).sum() == pytest.approx(0.25, abs=0.05)
            assert not shown[case][kept][~visible[kept]].any()
    assert counts == {4} if dropout == "none" else len(counts) > 1


@pytest.mark.parametrize("name", [NAME, "nnUNetTrainerMedMAP"])
def test_whatever_is_trained_without_deep_supervision_gets_a_gradient(make_method, tiny, name):
    """Else nnU-Net's distributed training fails at the second step."""
    trainer = start(make_method(name, tiny, deep_supervision=False))
    trainer.train_step(next(trainer.dataloader_train))
    trained = {key: value for key, value in trainer.network.named_parameters() if value.requires_grad}
    assert not [key for key, value in trained.items() if value.grad is None]
    assert trained.keys() < dict(trainer.network.named_parameters()).keys()


def test_without_deep_supervision_it_reconstructs_better_with_every_step(make_method, tiny):
    trainer = start(make_method(NAME, tiny, masked_share=0.3, modality_dropout="none", initial_lr=0.02))
    batch = next(trainer.dataloader_train)
    losses = []
    for _ in range(30):
        trainer._start_masks(0)
        losses.append(float(trainer.train_step(dict(batch))["loss"]))
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("network", ["early", "parallel", "stock"])
def test_trains_continues_and_a_training_starts_from_it(make_method, tiny, network, capsys):
    block = {"network": network}
    if network != "early":
        block |= {"presence_conditioning": False, "presence_convolutions": False}
    if network == "stock":
        block |= {"channel_encoder": "none"}
    trainer = make_method(NAME, tiny, validation_subsets="cycle", **block)
    trainer.run_training()
    trainer.perform_actual_validation()
    said = capsys.readouterr().out
    assert f"-pretrained_weights {trainer.output_folder}/pretrained_encoder.pth" in said
    assert "the pseudo Dice is the explained variance of the hidden voxels of FLAIR, T1, T1ce, T2." in said
    (per_modality,) = trainer.logger.get_value("dice_per_class_or_region", None)
    assert len(per_modality) == 4
    assert all(0 <= value <= 1 for value in per_modality)

    resumed = make_method(NAME, tiny, num_epochs=2, validation_subsets="cycle", **block)
    resumed.load_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    resumed.run_training()
    state = torch.get_rng_state()
    resumed.perform_actual_validation()
    assert torch.equal(torch.get_rng_state(), state)
    assert resumed.current_epoch == 2

    student_is = {"early": SELF, "parallel": "nnUNetTrainerSharedBackbone", "stock": "nnUNetTrainerMedMAP"}[network]
    more = {
        "early": {},
        "parallel": {"channel_encoder": "shared"},
        "stock": {"network": "stock", "channel_encoder": "none", "alignment_anchor": "none"},
    }[network]
    student = make_method(student_is, tiny, **more)
    student.initialize()
    before = {name: value.clone() for name, value in student.network.state_dict().items()}
    load_pretrained_weights(student.network, f"{resumed.output_folder}/pretrained_encoder.pth")
    pretrained, kinds = resumed.network.state_dict(), set()
    for name, value in student.network.state_dict().items():
        of_decoder = "decoder." in name and "decoder.encoder." not in name
        if ".seg_layers." in name:
            assert torch.equal(value, before[name]), name
        elif not of_decoder:
            assert torch.equal(value, pretrained[name]), name
        elif value.ndim > 1:  # norms and biases begin alike
            assert not torch.equal(value, pretrained[name]), name
            assert value.std() == pytest.approx(before[name].std(), rel=0.5)
        kinds.add(of_decoder)
    assert kinds == {True, False}
    student.run_training()
    if student_is == SELF:
        assert student.average.updates == 2


def test_continued_masks_are_those_of_a_training_that_was_not_interrupted(make_method, tiny):
    one, other = (make_method(NAME, tiny, num_epochs=4) for _ in range(2))
    draws = []
    for trainer, first_epoch in ((one, 0), (other, 2)):
        trainer.initialize()
        for epoch in range(first_epoch, 4):
            trainer.current_epoch = epoch
            trainer._start_masks(epoch)
            trainer.dropout.start_epoch(epoch)
            batch = {"data": torch.ones(2, 4, 16, 16, 16)}
            trainer._keep(batch, torch.from_numpy(trainer.dropout.sample(trainer._present(batch).numpy())))
            draws.append((epoch, batch["data"].nan_to_num(5.0)))
    by_epoch = dict(draws[:4])
    for epoch, data in draws[4:]:
        assert torch.equal(by_epoch[epoch], data)
    assert not torch.equal(by_epoch[2], by_epoch[3])


def test_cases_that_lack_modalities_teach_what_they_have_and_content_of_absent_ones_moves_nothing(make_method, tiny):
    trainer = start(make_method(NAME, tiny))
    batch = next(trainer.dataloader_train)
    present = torch.tensor([[True, False, True, True], [False, False, True, False]])
    absence.mark(batch["data"], present)
    seen = watched(trainer)
    trainer.train_step(batch)
    shown, output, _images, told = seen[-1]
    assert torch.equal(told, present)
    assert not (absence.read(shown) & ~present).any()
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(value).all() for value in trainer.network.state_dict().values())
    # The gradient of an output for an absent modality is zero: its bias stays where it was.
    last = trainer.network.decoder.seg_layers[-1]
    assert last.bias.grad[1] == 0
    assert last.bias.grad[[0, 2, 3]].abs().min() > 0


def test_labels_have_no_part_in_it(make_method, tiny):
    losses = []
    for filled in (None, 0):
        trainer = start(make_method(NAME, tiny, oversample_foreground_percent=0.0))
        batch = next(trainer.dataloader_train)
        if filled is not None:
            batch["target"] = torch.full_like(batch["target"], filled)
        losses.append(float(trainer.train_step(batch)["loss"]))
    assert losses[0] == losses[1]


def test_a_case_without_any_label_serves(make_method, tiny):
    for file in tiny.preprocessed.glob("nnUNetPlans_3d_fullres/*.pkl"):
        properties = pickle.loads(file.read_bytes())
        properties["class_locations"] = {key: [] for key in properties["class_locations"]}
        file.write_bytes(pickle.dumps(properties))
    trainer = make_method(NAME, tiny)
    trainer.run_training()
    assert np.isfinite(trainer.logger.get_value("train_losses", None)).all()


def test_a_pretrained_model_segments_nothing_and_says_so(make_method, tiny):
    trainer = make_method(NAME, tiny)
    trainer.run_training()
    folder = trainer.output_folder_base
    with pytest.raises(ModelFolderError, match=r"only pretrains.*-pretrained_weights"):
        load_predictor(open_model_folder(folder), device=CPU, kind=nnUNetPredictor)
    stock = nnUNetPredictor(device=CPU, use_mirroring=False, allow_tqdm=False)
    stock.initialize_from_trained_model_folder(folder, (0,), "checkpoint_final.pth")
    with pytest.raises(PretrainingOnlyError, match=r"only pretrained.*-pretrained_weights"):
        stock.predict_logits_from_preprocessed_data(torch.randn(4, 16, 16, 16))
    student = make_method("nnUNetTrainerHolderMI", tiny, teacher=str(folder), initial_weights="random")
    with pytest.raises(TeacherError, match="only pretrains"):
        student.run_training()


def test_the_choices_of_losses_are_not_its_own(make_method, tiny):
    trainer = make_method(NAME, tiny, divergence="holder_proper", alignment_weight=3.0)
    assert not {"divergence", "alignment_weight", "deep_supervision"} & set(trainer.choices)
    assert trainer.choices["masked_share"] == 0.875
    assert "masked_share" not in make_method(SELF, tiny, masked_share=0.5).choices
    with pytest.raises(ValueError, match="masked_share must be"):
        make_method(NAME, tiny, masked_share=1.0)
