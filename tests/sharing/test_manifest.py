"""A manifest names files that cannot execute, lie in the model's folder and are complete; anything else is refused."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod.sharing.manifest import (
    FORMAT,
    MANIFEST,
    SharedModelError,
    make_manifest,
    member_of,
    problem_of,
    read_manifest,
    unlisted_files,
)


@pytest.fixture
def content(manifest):
    return json.loads(manifest.content)


def read(content):
    return read_manifest(json.dumps(content).encode(), "model.zip")


def test_what_is_written_is_read(manifest):
    again = read_manifest(manifest.content, "model.zip")
    assert again == manifest
    assert again.digest == manifest.digest
    assert again.members["dataset.json"].size == 3


def test_equal_files_have_one_digest_in_any_order(manifest):
    members = dict(reversed(manifest.members.items()))
    assert make_manifest(manifest.model, manifest.versions, members).digest == manifest.digest


@pytest.mark.parametrize(
    "name",
    [
        *("../plans.json", "/plans.json", "fold_0/../../x.json", "fold_0\\x.json", "C:x.json", "a/b.json", ".x.json"),
        *("fold_0/checkpoint_final.pth", "x.py", "x.pkl", "plans.json/", "fold_x/a.json", "fold_0/a.json\n", "ä.json"),
        *("fold_00/checkpoint_final.json", "fold_07/a.json", "fold_0000/a.json"),
        *("fold_0/a\0.json", "", "fold_0/"),
    ],
)
def test_a_name_that_leaves_the_folder_or_may_hold_code_is_refused(content, name):
    content["members"][name] = content["members"]["plans.json"]
    with pytest.raises(SharedModelError, match="which no shared model has"):
        read(content)


@pytest.mark.parametrize("missing", ["dataset.json", "plans.json", "fold_0/checkpoint_final.json"])
def test_a_missing_file_is_named(content, missing):
    del content["members"][missing]
    with pytest.raises(SharedModelError, match=f"lists no {missing}"):
        read(content)


def test_no_weights_are_no_model(content):
    content["members"] = {name: value for name, value in content["members"].items() if "fold" not in name}
    with pytest.raises(SharedModelError, match="lists no weights"):
        read(content)


@pytest.mark.parametrize("value", [None, {}, {"sha256": "0" * 64}, {"sha256": "0" * 64, "size": -1}, "x"])
def test_a_file_without_sum_or_size_is_named(content, value):
    content["members"]["plans.json"] = value
    with pytest.raises(SharedModelError, match=r"no size and SHA-256 of plans\.json"):
        read(content)


def test_names_that_some_disks_do_not_tell_apart_are_refused(content):
    content["members"]["Plans.json"] = content["members"]["plans.json"]
    with pytest.raises(SharedModelError, match="upper and lower case only"):
        read(content)


@pytest.mark.parametrize("model", [None, "../x", "a/b", "", ".hidden"])
def test_the_model_is_called_as_a_folder_can_be(content, model):
    content["model"] = model
    with pytest.raises(SharedModelError, match="names no model and versions"):
        read(content)


def test_a_later_version_says_what_to_install(content):
    content["version"] = 2
    with pytest.raises(SharedModelError, match="install a later nnunet_missingmod"):
        read(content)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"format": "x"}', b"[" * 100_000, b" " * 5_000_000])
def test_another_file_is_no_manifest(raw):
    with pytest.raises(SharedModelError, match="is none of a shared model"):
        read_manifest(raw, "model.zip")


def test_it_does_not_list_itself(content):
    content["members"][MANIFEST] = content["members"]["plans.json"]
    with pytest.raises(SharedModelError, match="lists itself"):
        read(content)
    assert content["format"] == FORMAT


def test_every_file_of_a_folder_is_compared(tmp_path, manifest, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert problem_of(manifest, tmp_path) is None
    (tmp_path / "fold_1").mkdir()
    (tmp_path / "fold_1/weights.bin").touch()
    assert problem_of(manifest, tmp_path) == "it also has fold_1/weights.bin"
    assert unlisted_files(manifest, tmp_path) == ["fold_1/weights.bin"]
    (tmp_path / "fold_1/weights.bin").unlink()
    (tmp_path / "README.md").write_bytes(b"# Another\n")
    assert problem_of(manifest, tmp_path) == "README.md has another SHA-256"
    assert problem_of(manifest, tmp_path, without=("README.md",)) is None
    (tmp_path / "dataset.json").write_bytes(b"{")
    assert problem_of(manifest, tmp_path, without=("README.md",)) == "dataset.json has 1 bytes, not 3"
    (tmp_path / "dataset.json").unlink()
    assert "dataset.json cannot be read" in problem_of(manifest, tmp_path, without=("README.md",))
    assert member_of(b"{}\n") == manifest.members["dataset.json"]
