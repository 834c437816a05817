"""A compressed file is decompressed once for the check and the reader, and what cannot be copied is read as it is."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_missingmod.cases.image_file import read_grid, read_image
from nnunet_missingmod.cases.labels import read_label_file
from nnunet_missingmod.cases.unpacking import unpacked

VOXELS = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "case_0000.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path))
    return path


class Reader(SimpleITKIO):
    """nnU-Net's reader, which keeps the paths that it was given."""

    def __init__(self):
        super().__init__()
        self.paths = []

    def read_images(self, image_fnames):
        self.paths += image_fnames
        return super().read_images(image_fnames)


def read(file, reader):
    return read_image(file, "T1", reader, transform="refuse", strict=True, tolerance_voxels=0.1)


@pytest.fixture
def decompressed(monkeypatch):
    """The files that were decompressed by Python; the reader is given files that need none."""
    found = []
    opened = gzip.open
    monkeypatch.setattr(gzip, "open", lambda file, *rest: found.append(file) or opened(file, *rest))
    return found


def test_an_image_and_a_label_map_are_decompressed_once_and_no_copy_is_left(file, decompressed):
    reader = Reader()
    assert np.array_equal(read(file, reader).image[0], VOXELS)
    assert decompressed == [file]
    assert [path.endswith("/case_0000.nii") for path in reader.paths] == [True]
    assert not Path(reader.paths[0]).exists()
    assert np.array_equal(read_label_file(file, reader, read_grid(file, reader))[0], VOXELS)
    assert decompressed == [file] * 3


def test_an_ending_in_capitals_is_one(file, decompressed):
    file = file.rename(file.with_name("CASE.NII.GZ"))
    assert np.array_equal(read(file, reader := Reader()).image[0], VOXELS)
    assert decompressed == [file]
    assert reader.paths != [str(file)]


@pytest.mark.parametrize("failing", ["folder", "write"])
def test_where_no_copy_can_be_made_the_file_itself_is_read(file, monkeypatch, failing, tmp_path):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    if failing == "folder":
        monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    else:
        monkeypatch.setattr("shutil.copyfileobj", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reader = Reader()
    assert np.array_equal(read(file, reader).image[0], VOXELS)
    assert reader.paths == [str(file)]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content[:-10], "the file is truncated: its compressed data end too early"),
        (lambda content: content[:20] + b"\xff\xff" + content[22:], "the file is damaged"),
        (lambda content: content[:-6] + b"\x00" + content[-5:], "the file is damaged"),
        (lambda content: b"no gzip", "the file is damaged"),
        (lambda content: b"", r"the file is empty \(0 bytes\)"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_left(file, damage, reason, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=reason) as error:
        read(file, Reader())
    assert str(error.value).startswith(str(file))
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_reader_says_of_the_copy_is_said_of_the_file(file):
    with pytest.raises(ValueError, match="cannot make sense of") as error, unpacked(file) as plain:
        raise RuntimeError(f"cannot make sense of {plain}")
    assert str(error.value) == f"cannot make sense of {file}"
    assert isinstance(error.value.__cause__, RuntimeError)


def test_an_error_that_does_not_name_the_copy_and_a_file_without_compression_are_passed_on(file):
    with pytest.raises(KeyError), unpacked(file):
        raise KeyError("spacing")
    plain = file.with_name("case_0000.nii")
    with unpacked(plain) as same:
        assert same == plain
