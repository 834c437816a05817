"""The network's own average as its teacher: the formula, what it teaches, and how it is saved and predicts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from starting import start
from torch import nn

from nnunet_missingmod.training.average import AverageTeacher, average_decay
from nnunet_missingmod.training.checkpoints import read_checkpoint
from nnunet_missingmod.training.teacher import rotating_samples

SELF = "nnUNetTrainerHolderMISelf"


class Small(nn.Module):
    """A network with a layer that is registered under two names, running statistics and a counter."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
        self.decoder = nn.Conv2d(3, 2, 1)
        self.decoder.encoder = self.encoder
        self.decoder.deep_supervision = True


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


def test_the_average_is_the_formulas_for_weights_and_running_statistics_and_each_layer_counts_once():
    torch.manual_seed(0)
    network = Small()
    average = AverageTeacher(network, decay=0.7)
    expected = {name: value.double() for name, value in weights(network).items()}
    for n in range(40):
        with torch.no_grad():
            for value in {id(value): value for value in network.state_dict().values()}.values():
                value.copy_(torch.randn_like(value) if value.is_floating_point() else value + 1)
        average.update(network)
        decay = min(0.7, (1 + n) / (10 + n))
        for name, value in network.state_dict().items():
            floating = value.is_floating_point()
            expected[name] = decay * expected[name] + (1 - decay) * value.double() if floating else value.double()
    for name, value in average.state_dict()["weights"].items():
        torch.testing.assert_close(value.double(), expected[name], rtol=0, atol=1e-6, msg=name)
    assert average.updates == 40


def test_the_network_keeps_its_deep_supervision_and_its_gradients():
    network = Small()
    average = AverageTeacher(network, decay=0.9)
    assert network.decoder.deep_supervision
    assert not average._network.decoder.deep_supervision
    assert all(value.requires_grad for value in network.parameters())
    assert not any(value.requires_grad for value in average._network.parameters())


@pytest.mark.parametrize(("steps", "decay"), [(3_000, 0.995), (250_000, 0.99994), (10, 0.0)])
def test_auto_forgets_over_a_fifteenth_of_the_training(steps, decay):
    assert average_decay("auto", num_steps=steps) == pytest.approx(decay)
    assert average_decay(0.9, num_steps=steps) == 0.9


def test_two_networks_change_places_and_back():
    torch.manual_seed(0)
    network, other = Small(), Small()
    average = AverageTeacher(other, decay=0.9)
    one, two = weights(network), weights(average._network)
    average.exchange(network)
    assert_same(weights(network), two)
    assert_same(weights(average._network), one)
    average.exchange(network)
    assert_same(weights(network), one)
    assert_same(weights(average._network), two)


@pytest.fixture
def tiny(make_tiny_dataset, preprocess):
    made = make_tiny_dataset()
    preprocess(made, "3d_fullres")
    return made


@pytest.mark.usefixtures("attached")
def test_it_needs_no_teacher_sees_the_batch_before_dropout_and_follows_every_step(make_method, tiny):
    trainer = start(make_method(SELF, tiny, average_decay=0.5))
    seen = []
    teach = trainer.average.__class__.__call__
    trainer.frozen_teacher = lambda data, present, turn: (
        seen.append(present.clone()) or teach(trainer.average, data, present, turn)
    )
    trainer.frozen_teacher.counts = trainer.average.counts
    for number in range(3):
        before = weights(trainer.average._network)
        trainer.train_step(next(trainer.dataloader_train))
        decay = min(0.5, (1 + number) / (10 + number))
        for name, value in trainer.average._network.state_dict().items():
            live = trainer.network.state_dict()[name]
            torch.testing.assert_close(value, decay * before[name] + (1 - decay) * live, rtol=1e-5, atol=1e-6)
    assert all(present.all() for present in seen)
    assert len(seen) == trainer.average.updates == 3


def test_a_share_of_the_batch_is_taught_in_turn_and_the_log_counts_what_could_be(make_method, tiny):
    trainer = start(make_method(SELF, tiny, taught_share=0.5))
    teacher, seen = trainer.average, []
    whole = teacher._network.forward
    teacher._network.forward = lambda x, *more, **named: seen.append(x.clone()) or whole(x, *more, **named)
    batches = [next(trainer.dataloader_train) for _ in range(2)]
    shown = [batch["data"].clone() for batch in batches]
    size = len(shown[0])
    for batch in batches:
        trainer.train_step(batch)
    for step, part in enumerate(seen):
        expected = shown[step][rotating_samples(step, size, 0.5)]
        assert torch.equal(part.isnan(), expected.isnan())
        assert torch.equal(part.nan_to_num(), expected.nan_to_num())
    assert len(seen) == 2
    assert trainer.samples_taught == (2 * size, 2 * size)


def test_a_case_that_lacks_a_modality_is_taught_what_it_has():
    present = torch.tensor([[True, False], [True, True], [False, False]])
    assert AverageTeacher(Small(), decay=0.9).counts(present).tolist() == [True, True, False]


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("predict_with", ["network", "average"])
def test_continuing_restores_network_and_average_bit_for_bit(make_method, tiny, predict_with):
    trainer = start(make_method(SELF, tiny, predict_with=predict_with))
    for _ in range(2):
        trainer.train_step(next(trainer.dataloader_train))
    file = f"{trainer.output_folder}/checkpoint_latest.pth"
    live, averaged = weights(trainer.network), weights(trainer.average._network)
    trainer.save_checkpoint(file)
    assert_same(weights(trainer.network), live)
    saved = read_checkpoint(Path(file))["network_weights"]
    assert_same(saved, averaged if predict_with == "average" else live)
    resumed = make_method(SELF, tiny, predict_with=predict_with)
    resumed.load_checkpoint(file)
    assert_same(weights(resumed.network), live)
    assert_same(weights(resumed.average._network), averaged)
    assert resumed.average.updates == 2
    resumed.current_epoch = 0  # the step is taken once more in the same epoch
    batch = next(trainer.dataloader_train)
    start(resumed)
    for each in (trainer, resumed):
        each.dropout.start_epoch(0)
        each.terms.start_epoch(0)
        each.train_step({"data": batch["data"].clone(), "target": [target.clone() for target in batch["target"]]})
    assert_same(weights(resumed.network), weights(trainer.network))
    assert_same(weights(resumed.average._network), weights(trainer.average._network))


@pytest.mark.usefixtures("attached")
def test_what_predicts_is_what_validates(make_method, tiny):
    trainer = start(make_method(SELF, tiny, predict_with="average"))
    trainer.train_step(next(trainer.dataloader_train))
    seen = []
    trainer.network.register_forward_pre_hook(lambda *_: seen.append(weights(trainer.network)))
    averaged, live = weights(trainer.average._network), weights(trainer.network)
    trainer.on_validation_epoch_start()
    with torch.no_grad():
        outputs = [trainer.validation_step(next(trainer.dataloader_val)) for _ in range(2)]
    trainer.on_validation_epoch_end(outputs)
    assert len(seen) == 2
    for shown in seen:
        assert_same(shown, averaged)
    assert_same(weights(trainer.network), live)


@pytest.mark.usefixtures("attached")
def test_weights_that_the_training_starts_from_are_the_averages_too(make_method, tiny):
    trainer = make_method(SELF, tiny)
    trainer.initialize()
    with torch.no_grad():
        for value in trainer.network.parameters():
            value.add_(1)
    start(trainer)
    assert_same(weights(trainer.average._network), weights(trainer.network))


@pytest.mark.usefixtures("attached")
def test_dropout_begins_where_the_plans_say(make_method, tiny):
    trainer = start(make_method(SELF, tiny, num_epochs=4, modality_dropout_from=0.25, modality_dropout_until=0.75))
    chances = []
    for epoch in range(4):
        trainer.current_epoch = epoch
        trainer.on_train_epoch_start()
        chances.append(trainer.dropout._chance)
    assert chances == [0, 0, 0.5, 1]
