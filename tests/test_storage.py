from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.storage import (
    check_not_of_the_host,
    check_output,
    file_fingerprint,
    fingerprint,
    moved_when_complete,
    name_problem,
    replaced_when_complete,
    write_text,
)


def test_the_new_file_takes_the_place_of_the_old_one_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "a.csv"
    write_text(path, "old\n")
    write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_the_old_file_whole(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail_half_way() -> None:
        with replaced_when_complete(path) as temporary:
            temporary.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_keeps_the_suffix(tmp_path):
    with replaced_when_complete(tmp_path / "a.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.touch()


def test_files_of_one_writer_move_together_or_not_at_all(tmp_path):
    folder = tmp_path / "new"

    def write(content, *, fails=False):
        with moved_when_complete(folder, last=["a.tif"]) as temporary:
            (temporary / "a.tif").write_text(content)
            (temporary / "a.json").write_text(content)
            if fails:
                raise OSError("disk full")

    write("old")
    with pytest.raises(OSError, match="disk full"):
        write("new", fails=True)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"a.tif": "old", "a.json": "old"}


@pytest.mark.parametrize("below", ["", "new", "new/deeper"])
def test_a_folder_that_can_be_made_is_an_output_and_nothing_is_left(tmp_path, below):
    check_output(tmp_path / below)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for place in ("file", "file/below", "nowhere", "new/" + "x" * 256):
        with pytest.raises(UsageError, match="Choose another -o, or mend the access rights"):
            check_output(tmp_path / place)

    def refused(**_more):
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(UsageError, match=f"Cannot write into {tmp_path / 'new'}: Permission denied. Choose"):
        check_output(tmp_path / "new")


@pytest.mark.parametrize(
    ("holds", "what"),
    [
        (["dataset.json", "imagesTr/", "labelsTr/"], "a raw dataset"),
        (["dataset.json", "imagesTs/", "labelsTs/"], "a raw dataset"),
        (["dataset.json", "dataset_fingerprint.json", "nnUNetPlans.json"], "a preprocessed dataset"),
        (["dataset.json", "plans.json", "fold_0/"], "a model"),
        (["dataset.json", "plans.json", "fold_all/"], "a model"),
        (["checkpoint_latest.pth"], "a fold of a model"),
        (["checkpoint_final.safetensors"], "a fold of a model"),
    ],
)
def test_folders_of_nnunet_are_known_by_what_they_hold_wherever_they_lie(tmp_path, monkeypatch, holds, what):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    for name in holds:
        (tmp_path / "x" / name).mkdir(parents=True) if name.endswith("/") else write_text(tmp_path / "x" / name, "{}")
    (tmp_path / "link").symlink_to("x")
    for folder in (tmp_path / "x", tmp_path / "link"):
        with pytest.raises(UsageError, match=f"^-o {folder} is {what}. Choose another -o.$"):
            check_not_of_the_host(folder)


def test_a_folder_of_predictions_is_none_of_nnunets(tmp_path):
    for name in ("dataset.json", "plans.json", "case.nii.gz", "predictions.jsonl"):
        write_text(tmp_path / "x" / name, "{}")
    check_not_of_the_host(tmp_path / "x")
    check_not_of_the_host(tmp_path / "new")


@pytest.mark.parametrize("name", ["a", "patient 7", "Jürgen", "x" * 200, "a.b", "-x"])
def test_names_that_files_can_have(name):
    assert name_problem(name) is None


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "a/b", "a\\b", "a\0", "a\n", "\udcff", "x" * 201, "ö" * 101])
def test_names_that_not_every_file_can_have(name):
    assert name_problem(name)


def test_a_files_fingerprint_is_that_of_the_content(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_fingerprint(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_fingerprint_is_of_the_values_and_names_and_of_their_order():
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    made = fingerprint({"x": 1}, weights=weights)
    assert made == fingerprint({"x": 1}, weights={name: value.clone() for name, value in weights.items()})
    assert made == fingerprint({"x": 1}, weights={**weights, "a": weights["a"].t().contiguous().t()})
    others = [
        fingerprint({"x": 2}, weights=weights),
        fingerprint({"x": 1}, weights={"a": weights["a"] + 1, "b": weights["b"]}),
        fingerprint({"x": 1}, weights={"c": weights["a"], "b": weights["b"]}),
        fingerprint({"x": 1}, weights=dict(reversed(weights.items()))),
        fingerprint({"x": 1}),
    ]
    assert len({made, *others}) == 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_tensors_of_every_kind_have_one(dtype, shape):
    value = torch.ones(shape, dtype=dtype)
    assert fingerprint(weights={"a": value}) == fingerprint(weights={"a": value.clone()})
    if value.numel():
        assert fingerprint(weights={"a": value}) != fingerprint(weights={"a": torch.zeros_like(value)})


def test_an_error_names_the_file_that_could_not_be_written(tmp_path, monkeypatch):
    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_text(tmp_path / "a.csv", "text")
    assert caught.value.filename == str(tmp_path / "a.csv")
    monkeypatch.undo()
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_text(tmp_path / "folder", "text")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "folder"), None)
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii", "x.NII.GZ", "x.hdr", "x.img.gz"])
def test_a_name_that_ends_as_a_nifti_file_is_none(name):
    assert name_problem("x.nii.gz_a") is None
    assert str(name_problem(name)).startswith(f"ends with {name[1:]}, an ending of image files")
