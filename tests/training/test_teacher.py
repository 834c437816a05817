"""Loading a teacher: what is torn, hostile or does not fit is refused, and nothing in it is executed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from building import build, choices_of
from every_network import Counting
from torch import nn

from nnunet_missingmod.training.average import AverageTeacher
from nnunet_missingmod.training.teacher import Teacher, load_teacher, rotating_samples
from nnunet_missingmod.training.teacher_folder import Student, TeacherError

CPU = torch.device("cpu")


@pytest.fixture
def tiny(make_tiny_dataset, preprocess):
    dataset = make_tiny_dataset()
    preprocess(dataset, "3d_fullres")
    return dataset


@pytest.fixture
def student(tiny):
    return Student(
        tiny.results.parent,
        tiny.plans,
        tiny.dataset_json,
        "3d_fullres",
        tiny.plans["configurations"]["3d_fullres"],
        0,
    )


@pytest.fixture
def checkpoint(tiny, train_teacher):
    return Path(train_teacher(tiny).output_folder) / "checkpoint_final.pth"


def test_a_finished_teacher_says_what_its_trainer_said(tiny, train_teacher, student):
    trained = train_teacher(tiny)
    teacher = load_teacher(student, "auto", device=CPU)
    data = torch.randn(1, 4, 16, 16, 16)
    said = teacher(data, torch.ones(1, data.shape[1], dtype=torch.bool))
    trained.set_deep_supervision_enabled(False)
    with torch.no_grad():
        logits, features = trained.network.eval()(data, return_features=True)
    assert torch.equal(said.logits, logits)
    for ours, theirs in zip(said.encoder, features.encoder, strict=True):
        assert torch.equal(ours, theirs)
    assert teacher.encoder_channels() == (4, 8, 8)
    assert teacher.source.startswith("nnUNetTrainerMedMAPTeacher in ")


@pytest.mark.parametrize("name", ["HolderMI", "HolderMISelf", "HolderMIParallel", "RFNet"])
@pytest.mark.parametrize("returns_logits", [True, False])
def test_a_compiled_teacher_says_what_the_plain_one_says_also_after_its_weights_changed(name, returns_logits):
    torch._dynamo.reset()
    network, other = (build(choices_of(f"nnUNetTrainer{name}")) for _ in range(2))
    average = AverageTeacher(network, decay=0.5, returns_logits=returns_logits, returns_decoded=name == "HolderMI")
    data = torch.randn(2, 3, 8, 8)
    data[0, 1] = float("nan")
    present = torch.tensor([[True, False, True], [True, True, True]])
    said = []
    count = Counting()
    for compiled in (False, True):
        if compiled:
            average.compile(backend=count)
        for weights in (network, other):
            average.restart(weights)
            said.append(average(data, present))
    for plain, again in zip(said[:2], said[2:], strict=True):
        torch.testing.assert_close(again.encoder, plain.encoder)
        torch.testing.assert_close(again.complete, plain.complete)
        for value, expected in ((again.logits, plain.logits), (again.decoded, plain.decoded)):
            assert (value is None) == (expected is None)
            torch.testing.assert_close(value, expected)
    assert not torch.equal(said[0].encoder[0], said[1].encoder[0])
    assert count.graphs
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["nnUNetTrainerHolderMISelf", "nnUNetTrainerHolderMI"])
@pytest.mark.parametrize("compiles", [True, False])
def test_a_teacher_is_compiled_where_nnunet_compiles_the_student(
    tiny, train_teacher, make_method, monkeypatch, name, compiles
):
    if name == "nnUNetTrainerHolderMI":
        train_teacher(tiny)
    compiled = []
    monkeypatch.setattr(Teacher, "compile", lambda self: compiled.append(self))
    trainer = make_method(name, tiny)
    trainer.initialize()
    trainer._do_i_compile = lambda: compiles
    trainer.on_train_start()
    assert compiled == ([trainer.frozen_teacher] if compiles else [])


def test_weights_that_are_no_numbers_are_refused_with_the_file(student, checkpoint):
    content = torch.load(checkpoint, weights_only=False)
    next(iter(content["network_weights"].values()))[0] = float("nan")
    torch.save(content, checkpoint)
    with pytest.raises(TeacherError, match=rf"{checkpoint}: weights are NaN or infinite .*Train it again with: nnUNet"):
        load_teacher(student, "auto", device=CPU)


def test_a_command_in_its_plans_is_not_executed(student, checkpoint, tmp_path):
    file, witness = checkpoint.parents[1] / "plans.json", tmp_path / "executed"
    plans = json.loads(file.read_text())
    arguments = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments |= {"nonlin": "os.system", "nonlin_kwargs": {"command": f"touch {witness}"}}
    file.write_text(json.dumps(plans))
    with pytest.raises(TeacherError, match=r"architecture .*os\.system"):
        load_teacher(student, "auto", device=CPU)
    assert not witness.exists()


def test_a_torn_checkpoint_is_refused_by_name(student, checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(TeacherError, match=r"checkpoint_final\.pth .*Train it again with: nnUNetv2_train"):
        load_teacher(student, "auto", device=CPU)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_what_is_no_checkpoint_is_refused(student, checkpoint, content):
    checkpoint.write_bytes(content)
    with pytest.raises(TeacherError, match="Train it again with"):
        load_teacher(student, "auto", device=CPU)


class Hostile:
    """What unpickles by running a command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.marker}",)


def test_a_hostile_checkpoint_is_refused_and_not_executed(student, checkpoint, tmp_path):
    loaded = torch.load(checkpoint, weights_only=False)
    marker = tmp_path / "executed"
    torch.save({**loaded, "logging": Hostile(marker)}, checkpoint)
    with pytest.raises(TeacherError, match="was not executed"):
        load_teacher(student, "auto", device=CPU)
    assert not marker.exists()


def test_a_file_of_bare_weights_is_refused(student, checkpoint):
    torch.save({"network_weights": {}}, checkpoint)
    with pytest.raises(TeacherError, match="it has no init_args, trainer_name"):
        load_teacher(student, "auto", device=CPU)


def test_weights_that_do_not_fit_are_refused(student, checkpoint):
    loaded = torch.load(checkpoint, weights_only=False)
    loaded["network_weights"].popitem()
    torch.save(loaded, checkpoint)
    with pytest.raises(TeacherError, match="do not fit its plans"):
        load_teacher(student, "auto", device=CPU)


# nnU-Net's search imports every variant of its trainers, and what they import is not ours to mend.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_trainer_that_is_not_installed_is_named(student, checkpoint):
    loaded = torch.load(checkpoint, weights_only=False)
    torch.save({**loaded, "trainer_name": "nnUNetTrainerOfSomebody"}, checkpoint)
    with pytest.raises(TeacherError, match="nnUNetTrainerOfSomebody, which is not installed"):
        load_teacher(student, "auto", device=CPU)


def test_plans_without_the_configuration_are_refused(student, checkpoint):
    file = checkpoint.parents[1] / "plans.json"
    plans = json.loads(file.read_text())
    plans["configurations"] = {"2d": plans["configurations"]["2d"]}
    file.write_text(json.dumps(plans))
    with pytest.raises(TeacherError, match="knows no configuration 3d_fullres; its plans have 2d"):
        load_teacher(student, "auto", device=CPU)


def test_another_fold_is_refused_even_under_the_right_name(student, checkpoint):
    loaded = torch.load(checkpoint, weights_only=False)
    loaded["init_args"]["fold"] = 4
    torch.save(loaded, checkpoint)
    with pytest.raises(TeacherError, match="fold: teacher 4, student 0"):
        load_teacher(student, "auto", device=CPU)


def test_a_teacher_is_no_module_and_frozen():
    network = nn.Linear(2, 2)
    teacher = Teacher(network, "here")
    assert not isinstance(teacher, nn.Module)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_fingerprint_tells_weights_apart():
    network = nn.Linear(2, 2)
    first = Teacher(network, "here").fingerprint
    assert Teacher(network, "there").fingerprint == first
    with torch.no_grad():
        network.weight[0, 0] += 1e-3
    assert Teacher(network, "here").fingerprint != first


def test_without_need_of_logits_the_decoder_is_not_run(train_teacher, make_tiny_dataset, preprocess):
    tiny = make_tiny_dataset()
    preprocess(tiny, "3d_fullres")
    network = train_teacher(tiny).network
    network.decoder.deep_supervision = False
    data, present = torch.randn(2, 4, 16, 16, 16), torch.tensor([[True] * 4, [True, False, True, True]])
    data[1, 1] = torch.nan
    both = Teacher(network, "here")(data, present)
    assert both.logits is not None
    assert both.complete.tolist() == [True, False]
    network.decoder.register_forward_pre_hook(lambda *_: pytest.fail("the decoder ran"))
    features = Teacher(network, "here", returns_logits=False)(data, present)
    assert features.logits is None
    for one, other in zip(features.encoder, both.encoder, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("batch_size", "share", "turns"),
    [
        (2, 0.5, [[0], [1], [0]]),
        (8, 0.5, [[0, 2, 4, 6], [1, 3, 5, 7], [0, 2, 4, 6]]),
        (3, 0.5, [[0, 1], [1, 2], [0, 2]]),
        (1, 0.5, [[0], [0], [0]]),
        (4, 0.1, [[0], [1], [2]]),
        (2, 1.0, [[0, 1], [0, 1], [0, 1]]),
    ],
)
def test_samples_take_turns(batch_size, share, turns):
    assert [rotating_samples(step, batch_size, share) for step in range(3)] == turns


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 8, 12])
def test_every_sample_has_its_turn_equally_often_and_neighbours_lie_apart(batch_size, share):
    turns = [rotating_samples(step, batch_size, share) for step in range(batch_size)]
    number = len(turns[0])
    assert Counter(sample for turn in turns for sample in turn) == dict.fromkeys(range(batch_size), number)
    apart = batch_size // number
    for turn in turns:
        steps = [(after - before) % batch_size for before, after in zip(turn, turn[1:] + turn[:1], strict=True)]
        assert number == 1 or min(steps) >= apart


@pytest.mark.parametrize("more", [{}, {"returns_decoded": True}, {"returns_logits": False}])
def test_samples_that_are_not_taught_are_not_seen_and_do_not_count(tiny, train_teacher, student, more):
    train_teacher(tiny)
    teacher = load_teacher(student, "auto", device=CPU, **more)
    data, present = torch.randn(3, 4, 16, 16, 16), torch.ones(3, 4, dtype=torch.bool)
    present[2, 1] = False
    alone = [teacher(data[[sample]], present[[sample]]) for sample in (0, 2)]
    data[1] = torch.nan
    said = teacher(data, present, [0, 2])
    assert said.complete.tolist() == [True, False, False]
    assert (said.logits is None) == (not more.get("returns_logits", True))
    assert (said.decoded is None) == (not more.get("returns_decoded", False))

    def compare(of_batch, of_samples):
        assert not of_batch[1].any()
        for sample, other in zip((0, 2), of_samples, strict=True):
            torch.testing.assert_close(of_batch[[sample]], other, rtol=1e-4, atol=1e-5)

    for level, levels in enumerate(said.encoder):
        compare(levels, [one.encoder[level] for one in alone])
    for name in ("logits", "decoded"):
        if getattr(said, name) is not None:
            compare(getattr(said, name), [getattr(one, name) for one in alone])
