"""A fold's files under faults while they are saved: a kill, a full disk, leftovers."""

from __future__ import annotations

import errno
import os
import resource
import signal
from contextlib import contextmanager

import pytest
import torch

from nnunet_missingmod.training import saving
from nnunet_missingmod.training.checkpoints import newest_readable
from nnunet_missingmod.training.saving import (
    CHECKPOINT_NAMES,
    CheckpointNotSavedError,
    remove_leftovers,
    saved_completely,
    staging_folder,
)

FINAL, LATEST, BEST = CHECKPOINT_NAMES


def write(folder, **epochs):
    for name, epoch in epochs.items():
        content = {"network_weights": {}, "trainer_name": "", "init_args": {}, "current_epoch": epoch}
        torch.save(content, folder / f"checkpoint_{name}.pth")


@contextmanager
def full_disk(size):
    """Limit the size of files: the nearest to a full disk that needs no rights. pytest's own output is limited, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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
