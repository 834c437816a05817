"""Which of a fold's checkpoints a training goes on from, where some of them are damaged."""

from __future__ import annotations

import os

import pytest
import torch

from nnunet_missingmod.training.checkpoints import CheckpointError, TornCheckpointError, newest_readable
from nnunet_missingmod.training.saving import (
    CHECKPOINT_NAMES,
)

FINAL, LATEST, BEST = CHECKPOINT_NAMES


def write(folder, weights=None, **epochs):
    for name, epoch in epochs.items():
        network = {} if weights is None else {"weight": weights}
        content = {"network_weights": network, "trainer_name": "", "init_args": {}, "current_epoch": epoch}
        torch.save(content, folder / f"checkpoint_{name}.pth")


def tear(folder, name):
    file = folder / f"checkpoint_{name}.pth"
    file.write_bytes(file.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("epochs", "torn", "expected"),
    [
        ({"final": 9}, (), FINAL),
        ({"latest": 6, "best": 8}, (), BEST),
        ({"latest": 8, "best": 6}, (), LATEST),
        ({"final": 9, "best": 9}, (), FINAL),
        ({"latest": 6, "best": 6}, (), LATEST),
        ({"final": 5, "latest": 7, "best": 3}, (), LATEST),
        ({"final": 9, "best": 4}, ("final",), BEST),
        ({"latest": 9, "best": 4}, ("latest",), BEST),
        ({"latest": 9, "best": 4}, ("best",), LATEST),
        ({"final": 9, "latest": 8, "best": 4}, ("final", "latest"), BEST),
    ],
)
def test_the_readable_checkpoint_with_most_epochs_is_taken(tmp_path, epochs, torn, expected):
    write(tmp_path, **epochs)
    for name in torn:
        tear(tmp_path, name)
    choice = newest_readable(tmp_path)
    assert choice.file == tmp_path / expected
    assert choice.epochs == epochs[expected.removeprefix("checkpoint_").removesuffix(".pth")]
    assert len(choice.rejected) == len(torn)
    for name, reason in zip(torn, choice.rejected, strict=True):
        assert reason.startswith(f"{tmp_path}/checkpoint_{name}.pth cannot be read")


def test_where_none_is_readable_all_are_named_and_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is none\. Put a copy"):
        newest_readable(tmp_path)
    write(tmp_path, latest=3, best=2)
    tear(tmp_path, "latest")
    tear(tmp_path, "best")
    with pytest.raises(CheckpointError, match=r"checkpoint_latest\.pth.*checkpoint_best\.pth.*train anew without --c"):
        newest_readable(tmp_path)


def damage(folder, name, content):
    """Change one bit after ``content`` begins in the file."""
    file = folder / f"checkpoint_{name}.pth"
    changed = bytearray(file.read_bytes())
    changed[changed.index(content) + 1] ^= 1
    file.write_bytes(changed)


WEIGHTS = torch.arange(500.0)


@pytest.mark.parametrize(
    "part", [WEIGHTS.numpy().tobytes(), b"trainer_name", b"PK\x03\x04"], ids=["weights", "values", "zip"]
)
def test_a_damaged_checkpoint_is_passed_over_and_weights_are_read_of_the_newest_alone(tmp_path, part):
    write(tmp_path, weights=WEIGHTS, latest=9, best=4)
    damage(tmp_path, "latest", part)
    choice = newest_readable(tmp_path)
    assert (choice.file.name, choice.epochs, choice.checkpoint["current_epoch"]) == (BEST, 4, 4)
    assert "checkpoint_latest.pth" in choice.rejected[0]
    write(tmp_path, weights=WEIGHTS, latest=9, best=4)
    damage(tmp_path, "best", WEIGHTS.numpy().tobytes())
    assert newest_readable(tmp_path).rejected == []


def test_something_else_than_a_checkpoint_is_not_silently_passed_over(tmp_path):
    write(tmp_path, latest=3)
    torch.save({"network_weights": os.system}, tmp_path / BEST)
    with pytest.raises(CheckpointError, match=r"checkpoint_best\.pth .*was not executed") as caught:
        newest_readable(tmp_path)
    assert not isinstance(caught.value, TornCheckpointError)
