"""A real training under faults: killed or out of disk while saving, torn, damaged or hostile checkpoints, ``--c``."""

from __future__ import annotations

import json
import os
import resource
import signal
from importlib import import_module
from pathlib import Path

import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as host_module

from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.training.checkpoints import (
    CheckpointError,
    TornCheckpointError,
    read_checkpoint,
)
from nnunet_missingmod.training.saving import CheckpointNotSavedError

SHORT = {"num_iterations_per_epoch": 1, "num_val_iterations_per_epoch": 1, "save_every": 1}


@pytest.fixture
def make(make_tiny_dataset, preprocess):
    """Return a function that makes a trainer of the tiny dataset, started anew or with --c."""
    tiny = make_tiny_dataset()
    preprocess(tiny, "2d")

    def make(*, resume=False, epochs=2, name="nnUNetTrainerModalityDropout", **block):
        plans = json.loads(json.dumps(tiny.plans)) | {"continue_training": resume}
        plans["configurations"]["2d"]["missingmod"] = {**SHORT, "num_epochs": epochs, **block}
        kind = getattr(import_module(CLASS_TABLE[name]), name)
        return kind(plans, "2d", 0, json.loads(json.dumps(tiny.dataset_json)), torch.device("cpu"))

    return make


@pytest.fixture
def interrupted(make):
    """The folder of a training that was stopped in its third epoch: checkpoint_latest and checkpoint_best."""
    trainer = make(epochs=3)
    trainer.on_train_end = lambda: None
    trainer.run_training()
    folder = Path(trainer.output_folder)
    assert sorted(file.name for file in folder.glob("*.pth")) == ["checkpoint_best.pth", "checkpoint_latest.pth"]
    return folder


def resume(trainer):
    """Do what ``nnUNetv2_train --c`` does before the training goes on."""
    maybe_load_checkpoint(trainer, True, False)


def tear(file):
    file.write_bytes(file.read_bytes()[:-100])


def epochs_of(file):
    return read_checkpoint(file)["current_epoch"]


def leftovers(folder):
    return [file for file in folder.rglob(".*") if file.is_file()]


def test_what_is_saved_is_what_the_host_saves(make):
    trainer = make()
    trainer.run_training()
    folder = Path(trainer.output_folder)
    trainer.current_epoch -= 1
    host_module.nnUNetTrainer.save_checkpoint(trainer, str(folder / "by_the_host.pth"))
    ours, hosts = (
        torch.load(folder / name, weights_only=False) for name in ("checkpoint_final.pth", "by_the_host.pth")
    )
    assert ours.keys() == hosts.keys()
    for name, value in ours["network_weights"].items():
        assert torch.equal(value, hosts["network_weights"][name])
    assert ours["current_epoch"] == hosts["current_epoch"] == 2
    assert not leftovers(folder.parent)


def test_disabled_checkpointing_and_other_ranks_write_nothing(make):
    trainer = make()
    trainer.initialize()
    file = Path(trainer.output_folder) / "checkpoint_latest.pth"
    trainer.disable_checkpointing = True
    trainer.save_checkpoint(str(file))
    trainer.disable_checkpointing, trainer.local_rank = False, 1
    trainer.save_checkpoint(str(file))
    assert not file.exists()


# The child does nothing but save and die.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_killed_while_saving_the_previous_checkpoint_is_readable_and_training_goes_on(make, interrupted, monkeypatch):
    trainer = make(resume=True, epochs=3)
    resume(trainer)
    file = interrupted / "checkpoint_latest.pth"
    before = file.read_bytes()

    def write_half(content, path):
        Path(path).write_bytes(before[: len(before) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        torch.save = write_half
        trainer.save_checkpoint(str(file))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert file.read_bytes() == before
    assert len(leftovers(interrupted)) == 1
    trainer.run_training()
    assert epochs_of(interrupted / "checkpoint_final.pth") == 3
    assert not leftovers(interrupted.parent)


def test_a_full_disk_leaves_the_previous_checkpoint_and_names_path_and_space(make, interrupted):
    trainer = make(resume=True, epochs=3)
    resume(trainer)
    file = interrupted / "checkpoint_latest.pth"
    before = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(CheckpointNotSavedError, match=rf"{file} could not be saved.*{interrupted} had .* MB free"):
            trainer.save_checkpoint(str(file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert not leftovers(interrupted)
    trainer.save_checkpoint(str(file))
    assert epochs_of(file) == trainer.current_epoch + 1


def test_a_full_disk_at_the_start_leaves_the_model_folders_plans(make, interrupted, monkeypatch):
    before = {file.name: file.read_bytes() for file in interrupted.parent.glob("*.json")}
    assert set(before) == {"plans.json", "dataset.json", "dataset_fingerprint.json"}

    def write_half(content, path, **_):
        Path(path).write_text(json.dumps(content)[:50])
        if "dataset.json" in path:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(host_module, "save_json", write_half)
    with pytest.raises(OSError, match="No space left"):
        make(resume=True, epochs=3).run_training()
    assert {file.name: file.read_bytes() for file in interrupted.parent.glob("*.json")} == before
    assert not [folder for folder in interrupted.parent.iterdir() if folder.name.startswith(".")]


def test_a_torn_checkpoint_is_passed_over_for_the_newest_readable_and_the_log_says_so(make, interrupted, capsys):
    tear(interrupted / "checkpoint_latest.pth")
    best = epochs_of(interrupted / "checkpoint_best.pth")
    trainer = make(resume=True, epochs=3)
    resume(trainer)
    assert trainer.current_epoch == best
    said = capsys.readouterr().out
    assert f"WARNING: {interrupted}/checkpoint_latest.pth cannot be read" in said
    assert f"Continuing after epoch {best - 1} from checkpoint_best.pth" in said
    assert "checkpoint_best.pth" in Path(trainer.log_file).read_text()
    trainer.run_training()
    assert epochs_of(interrupted / "checkpoint_final.pth") == 3
    assert len(trainer.logger.get_value("train_losses", None)) == 3


def test_a_torn_final_checkpoint_is_passed_over_too(make, interrupted):
    (interrupted / "checkpoint_final.pth").write_bytes(b"torn")
    trainer = make(resume=True, epochs=3)
    resume(trainer)
    newest = max(epochs_of(interrupted / f"checkpoint_{name}.pth") for name in ("latest", "best"))
    assert trainer.current_epoch == newest


def test_a_final_checkpoint_of_a_shorter_training_does_not_hide_newer_ones(make, interrupted):
    shorter = make(epochs=1)
    shorter.run_training()
    longer = make(resume=True, epochs=3)
    longer.on_train_end = lambda: None
    resume(longer)
    assert longer.current_epoch == 1
    longer.run_training()
    assert epochs_of(interrupted / "checkpoint_final.pth") == 1
    again = make(resume=True, epochs=4)
    resume(again)
    newest = max(epochs_of(interrupted / f"checkpoint_{name}.pth") for name in ("latest", "best"))
    assert again.current_epoch == newest > 1


def test_where_no_checkpoint_is_readable_training_does_not_start_anew_silently(make, interrupted):
    for file in interrupted.glob("*.pth"):
        tear(file)
    with pytest.raises(CheckpointError, match=r"No checkpoint in .* can be read: .*train anew without --c"):
        resume(make(resume=True))


def test_what_is_to_be_validated_is_never_replaced_by_another_checkpoint(make, interrupted):
    (interrupted / "checkpoint_final.pth").write_bytes(b"torn")
    with pytest.raises(TornCheckpointError, match=r"checkpoint_final\.pth"):  # --val
        maybe_load_checkpoint(make(), False, True)
    trainer = make(resume=True, epochs=3)
    resume(trainer)
    trainer.run_training()
    tear(interrupted / "checkpoint_best.pth")
    with pytest.raises(TornCheckpointError, match=r"checkpoint_best\.pth"):  # --val_best
        trainer.load_checkpoint(str(interrupted / "checkpoint_best.pth"))


class Hostile:
    """What unpickles by running a command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_hostile_checkpoint_is_not_executed_by_c_nor_passed_over(make, interrupted, tmp_path):
    marker = tmp_path / "executed"
    content = torch.load(interrupted / "checkpoint_latest.pth", weights_only=False)
    torch.save({**content, "logging": Hostile(marker)}, interrupted / "checkpoint_latest.pth")
    with pytest.raises(CheckpointError, match=r"checkpoint_latest\.pth .* was not executed"):
        resume(make(resume=True))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"modality_dropout": "bernoulli"}, "modality_dropout was 'uniform', is 'bernoulli'"),
        ({"modality_dropout_seed": 3}, "modality_dropout_seed was 0, is 3"),
    ],
)
def test_a_training_is_not_continued_with_other_choices(make, interrupted, changed, message):
    with pytest.raises(ValueError, match=f"was trained with other choices: {message}.*train anew without --c"):
        resume(make(resume=True, **changed))


def test_lengths_and_rates_may_change_when_a_training_is_continued(make, interrupted):
    trainer = make(resume=True, epochs=9, initial_lr=0.02, save_every=5)
    resume(trainer)
    assert (trainer.num_epochs, trainer.initial_lr, trainer.save_every) == (9, 0.02, 5)
