"""A fold's checkpoints under faults: a kill or a full disk while saving, damaged files, leftovers."""

from __future__ import annotations

import errno
import os
import resource
import signal
from contextlib import contextmanager

import pytest
import torch

from nnunet_missingmod.training import saving
from nnunet_missingmod.training.checkpoints import CheckpointError, TornCheckpointError, newest_readable
from nnunet_missingmod.training.saving import (
    CHECKPOINT_NAMES,
    CheckpointNotSavedError,
    remove_leftovers,
    saved_completely,
    staging_folder,
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


@contextmanager
def full_disk(size):
    """Limit the size of files: the nearest to a full disk that needs no rights. pytest's own output is limited, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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


def test_a_saved_file_has_its_content_and_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / LATEST
    for content in (b"first", b"second"):
        with saved_completely(file) as temporary:
            assert temporary.parent == tmp_path
            assert not temporary.match("checkpoint_*")
            temporary.write_bytes(content)
        assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_leaves_the_previous_file_and_names_path_and_free_space(tmp_path):
    file = tmp_path / LATEST
    write(tmp_path, latest=3)
    before = file.read_bytes()
    with (
        full_disk(20_000),
        pytest.raises(
            CheckpointNotSavedError,
            match=rf"{file} could not be saved: .* had been written when {tmp_path} had [0-9.]+ MB free\. "
            r"The previous checkpoint_latest\.pth is as it was\. Make room, then continue with --c\.",
        ),
        saved_completely(file) as temporary,
    ):
        torch.save({"weights": torch.zeros(100_000)}, temporary)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_disk_that_turns_out_full_when_flushed_leaves_the_previous_file(tmp_path, monkeypatch):
    file = tmp_path / LATEST
    file.write_bytes(b"first")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointNotSavedError, match="No space left on device"), saved_completely(file) as temporary:
        temporary.write_bytes(b"second")
    assert file.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [file]


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("flushed"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("named"), replace(*paths)))
    with saved_completely(tmp_path / LATEST) as temporary:
        temporary.write_bytes(b"content")
    assert events == ["flushed", "named", "flushed"]


# The child does nothing but save and die.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_kill_while_saving_leaves_the_previous_file_and_a_leftover_that_is_removed(tmp_path):
    write(tmp_path, latest=3)
    before = (tmp_path / LATEST).read_bytes()
    child = os.fork()
    if not child:
        with saved_completely(tmp_path / LATEST) as temporary:
            temporary.write_bytes(before[:100])
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (tmp_path / LATEST).read_bytes() == before
    (leftover,) = set(tmp_path.iterdir()) - {tmp_path / LATEST}
    assert newest_readable(tmp_path).rejected == []
    assert remove_leftovers(tmp_path) == [leftover]
    assert list(tmp_path.iterdir()) == [tmp_path / LATEST]


def test_staged_files_move_up_together_with_new_content(tmp_path):
    (tmp_path / "plans.json").write_text("old")
    (tmp_path / "other.txt").write_text("other")
    with staging_folder(tmp_path, ["plans.json", "dataset.json"]) as staging:
        (staging / "plans.json").write_text("new")
        (staging / "dataset.json").write_text("new")
        assert (tmp_path / "plans.json").read_text() == "old"
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "plans.json": "new",
        "dataset.json": "new",
        "other.txt": "other",
    }


def test_an_error_while_staging_leaves_the_files_that_were_there(tmp_path):
    (tmp_path / "plans.json").write_text("old")

    def fail_half_way():
        with staging_folder(tmp_path, ["plans.json"]) as staging:
            (staging / "plans.json").write_text("ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail_half_way()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("plans.json", "old")]


def test_what_a_kill_left_of_staging_is_removed_the_next_time(tmp_path):
    with staging_folder(tmp_path, []) as staging:
        name = staging.name
    (tmp_path / name).mkdir()
    (tmp_path / name / "plans.json").write_text("torn")
    with staging_folder(tmp_path, []) as staging:
        assert list(staging.iterdir()) == []
    with staging_folder(tmp_path, [], rank=1) as other:
        assert other.name != name
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_cannot_flush_folders_is_no_fault(tmp_path, monkeypatch):
    def cannot(path, flags):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(saving.os, "open", cannot)
    saving._flush_names(tmp_path)
