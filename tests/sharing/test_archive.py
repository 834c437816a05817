"""A zip that is not exactly what its manifest says is refused, and leaves nothing outside of its folder."""

from __future__ import annotations

import json
import stat
import warnings
import zipfile

import pytest

from nnunet_missingmod.sharing.archive import unpack, unpack_manifest, zip_writer
from nnunet_missingmod.sharing.manifest import MANIFEST, SharedModelError

WEIGHTS = "fold_0/checkpoint_final.safetensors"


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def unpacked(file, target):
    unpack(file, unpack_manifest(file), target)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def refusal(file, target, match):
    with pytest.raises(SharedModelError, match=match):
        unpacked(file, target)
    outside = [path for path in target.parent.iterdir() if path not in (target, file)]
    assert {path.name for path in outside} <= {"model.zip"}


def entry(name, mode=0o644):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def test_every_file_comes_out_as_it_went_in(shared, target, files, manifest):
    assert unpacked(shared, target) == {**files, MANIFEST: manifest.content}


def test_equal_files_give_equal_zips(shared, tmp_path, files, manifest):
    with zip_writer(tmp_path / "again.zip") as write:
        for name, content in files.items():
            write(name, content)
        write(MANIFEST, manifest.content)
    assert (tmp_path / "again.zip").read_bytes() == shared.read_bytes()


def test_a_zip_that_is_not_finished_has_no_name(tmp_path):
    with pytest.raises(TypeError), zip_writer(tmp_path / "new.zip") as write:
        write("plans.json", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../evil.json", "/tmp/evil.json", "fold_0/../../evil.json", "..\\evil.json", "fold_0/evil.pth", "evil.py"]
)
def test_a_name_that_would_leave_the_folder_is_refused(changed, target, name):
    refusal(changed(more={name: b"x"}), target, "which no shared model has")
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR], ids=["link", "pipe", "folder"])
def test_a_link_is_refused(changed, target, kind):
    link = entry("plans.json", kind | 0o777)
    refusal(changed({"plans.json": None}, {link: b"/etc/passwd"}), target, "is a link or another thing than a file")


def test_a_name_that_stands_twice_is_refused(changed, target):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile says it on writing
        file = changed(more={"plans.json": b"{}"})
    refusal(file, target, r"plans\.json in .* is in it twice")
    refusal(changed(more={"Plans.json": b"{}"}), target, "is in it twice")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.99])
def test_a_torn_zip_is_refused(shared, target, tmp_path, share):
    torn = tmp_path / "torn.zip"
    content = shared.read_bytes()
    torn.write_bytes(content[: int(share * len(content))])
    refusal(torn, target, r"torn\.zip is no zip of a model, or is torn")


def test_a_changed_bit_is_noticed(shared, target, tmp_path, files):
    content = bytearray(shared.read_bytes())
    place = bytes(content).index(files[WEIGHTS]) + 100
    content[place] ^= 1
    (tmp_path / "bit.zip").write_bytes(content)
    refusal(tmp_path / "bit.zip", target, "torn|changed")


def test_changed_and_swapped_files_are_refused(changed, target, files):
    refusal(changed({WEIGHTS: files[WEIGHTS][::-1]}), target, rf"{WEIGHTS} in .* is torn or was changed")
    refusal(changed({"plans.json": b"{} \n"}), target, r"plans\.json in .* has 4 bytes, 9 by its manifest")


def test_two_files_of_one_size_cannot_change_places(tmp_path, target, changed, manifest, files):
    read = json.loads(manifest.content)
    read["members"]["dataset.json"], read["members"]["plans.json"] = (
        read["members"]["plans.json"],
        read["members"]["dataset.json"],
    )
    swapped = {"dataset.json": files["plans.json"], "plans.json": files["dataset.json"]}
    refusal(changed(swapped), target, "bytes")
    assert unpacked(changed({**swapped, MANIFEST: json.dumps(read).encode()}), target)["plans.json"] == b"{}\n"


def test_missing_and_additional_files_are_named(changed, target):
    refusal(changed({WEIGHTS: None}), target, f"it lacks {WEIGHTS}")
    refusal(changed({}, {"more.json": b"{}"}), target, r"it also has more\.json")
    refusal(changed({MANIFEST: None}), target, r"has no manifest\.json, so it is no model that .* share wrote")


def test_a_bomb_is_refused_before_it_is_unpacked(changed, target):
    refusal(changed({WEIGHTS: b"\0" * 10_000_000}, compression=zipfile.ZIP_DEFLATED), target, "is compressed")
    assert list(target.iterdir()) == []


def test_entries_that_share_their_bytes_are_refused(shared, target, tmp_path):
    """Two entries of one place in the file: unpacked they would take twice what the zip does."""
    big = tmp_path / "big.zip"
    with zipfile.ZipFile(big, "w") as archive:
        archive.writestr(MANIFEST, b"{}")
        archive.writestr("a.json", b"\0" * 1_000_000)
        archive.writestr("b.json", b"\0" * 10)
        second = archive.getinfo("b.json")
        first = archive.getinfo("a.json").header_offset
        second.header_offset, second.file_size, second.compress_size = first, 1_000_000, 1_000_000
    refusal(big, target, "longer than itself")


def test_a_size_that_lies_is_refused(changed, target, manifest, files):
    read = json.loads(manifest.content)
    read["members"][WEIGHTS]["size"] = 10
    refusal(changed({MANIFEST: json.dumps(read).encode()}), target, f"has {len(files[WEIGHTS])} bytes, 10 by its")


def test_an_encrypted_entry_is_refused(shared, target, tmp_path):
    content = bytearray(shared.read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 8] |= 1
    (tmp_path / "encrypted.zip").write_bytes(content)
    refusal(tmp_path / "encrypted.zip", target, "is encrypted")


def test_what_does_not_fit_on_the_disk_is_not_begun(changed, target, manifest, monkeypatch, shared):
    import shutil

    usage = shutil.disk_usage(target)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(SharedModelError, match="has 1000 free: make room"):
        unpack(shared, manifest, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("name", ["checkpoint_final.pth", "checkpoint_final.safetensors"])
def test_a_checkpoint_is_told_from_a_model(tmp_path, name):
    file = tmp_path / name
    with zipfile.ZipFile(file, "w") as archive:  # as torch writes it
        archive.writestr("checkpoint_final/data.pkl", b"")
    with pytest.raises(SharedModelError, match=f"{name} is a checkpoint, .*: give the folder of its model"):
        unpack_manifest(file)
