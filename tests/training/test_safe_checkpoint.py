"""A checkpoint without pickle gives back every bit of the weights, in their order, and is refused if it was changed."""

from __future__ import annotations

import json
from collections import OrderedDict

import pytest
import torch

from nnunet_missingmod.training.checkpoints import CheckpointError, read_checkpoint
from nnunet_missingmod.training.safe_checkpoint import read_safe_checkpoint, safe_contents, without_training


def example():
    torch.manual_seed(0)
    shared = torch.randn(3, 4)
    return {
        "network_weights": OrderedDict(
            z=torch.randn(2, 3).t(),
            steps=torch.tensor(7),
            a=shared,
            tied=shared,
            half=torch.randn(5).bfloat16(),
            empty=torch.zeros(0, 2),
        ),
        "trainer_name": "nnUNetTrainer",
        "init_args": {
            "plans": {"configurations": {"2d": {"x": [1, 2.5, None]}}},
            "configuration": "2d",
            "fold": "all",
            "dataset_json": {"labels": {"background": 0}},
            "device": torch.device("cpu"),
            "split": {"train": ["patient_1"]},
        },
        "optimizer_state": {"x": torch.zeros(3)},
        "inference_allowed_mirroring_axes": (0, 2),
        "current_epoch": 3,
    }


@pytest.fixture
def file(tmp_path):
    weights, rest = safe_contents(example())
    (tmp_path / "checkpoint_final.safetensors").write_bytes(weights)
    (tmp_path / "checkpoint_final.json").write_bytes(rest)
    return tmp_path / "checkpoint_final.safetensors"


def test_weights_come_back_bit_for_bit_in_their_order(file):
    read, expected = read_safe_checkpoint(file), example()
    assert list(read["network_weights"]) == list(expected["network_weights"])
    for name, value in expected["network_weights"].items():
        assert read["network_weights"][name].dtype == value.dtype
        assert torch.equal(read["network_weights"][name], value)
    del read["network_weights"]
    assert read == {
        "trainer_name": "nnUNetTrainer",
        "init_args": {key: expected["init_args"][key] for key in ("configuration", "fold", "plans", "dataset_json")},
        "inference_allowed_mirroring_axes": [0, 2],
    }


def test_names_of_training_cases_do_not_travel(file):
    assert b"patient_1" not in file.read_bytes() + file.with_suffix(".json").read_bytes()
    assert "split" not in without_training(example())["init_args"]


def test_equal_checkpoints_give_equal_bytes():
    assert safe_contents(example()) == safe_contents(example())


def test_the_one_reader_takes_either_kind_under_the_same_name(file):
    named = file.with_suffix(".pth")
    safe = read_checkpoint(named)
    assert read_checkpoint(file)["trainer_name"] == safe["trainer_name"]
    pickled = file.parent / "pickled" / "checkpoint_final.pth"
    pickled.parent.mkdir()
    torch.save(without_training(example()), pickled)
    for name, value in read_checkpoint(pickled)["network_weights"].items():
        assert torch.equal(value, safe["network_weights"][name])


def test_both_kinds_side_by_side_are_refused(file):
    torch.save(example(), file.with_suffix(".pth"))
    with pytest.raises(CheckpointError, match="are both there: remove the one that is not meant"):
        read_checkpoint(file.with_suffix(".pth"))


def change(file, edit):
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def test_a_changed_bit_is_refused(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is torn or was changed.*Get the shared model again"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda content: content["weights"]["names"].pop(), "does not name the weights"),
        (lambda content: content["weights"]["names"].append("z"), "does not name the weights"),
        (lambda content: content.update(weights=None), "or of a later version"),
        (lambda content: content.update(version=2), "or of a later version"),
        (lambda content: content.update(format="x"), "or of a later version"),
        (lambda content: content.pop("trainer_name"), "it has no trainer_name"),
    ],
)
def test_what_does_not_belong_together_is_refused(file, edit, match):
    change(file.with_suffix(".json"), edit)
    with pytest.raises(CheckpointError, match=match):
        read_checkpoint(file)


def test_one_file_alone_is_refused(file):
    file.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint_final\.json beside it cannot be read"):
        read_checkpoint(file)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\xff" * 100])
def test_what_is_no_safetensors_is_refused(file, content):
    import hashlib

    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    change(file.with_suffix(".json"), lambda read: read["weights"].update(sha256=sha256))
    with pytest.raises(CheckpointError, match="is no file of weights"):
        read_checkpoint(file)


def test_weights_that_are_no_numbers_are_refused_as_in_a_pickled_one(tmp_path):
    checkpoint = example()
    checkpoint["network_weights"]["a"][0] = torch.nan
    for ending, content in zip((".safetensors", ".json"), safe_contents(checkpoint), strict=True):
        (tmp_path / f"x{ending}").write_bytes(content)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        read_checkpoint(tmp_path / "x.pth")


def test_what_cannot_be_shared_is_named():
    checkpoint = example()
    checkpoint["network_weights"]["extra"] = {"state": 1}
    with pytest.raises(ValueError, match="extra are no tensors"):
        safe_contents(checkpoint)
    checkpoint = example()
    checkpoint["init_args"]["plans"]["strange"] = torch.device("cpu")
    with pytest.raises(ValueError, match="is no JSON"):
        safe_contents(checkpoint)
