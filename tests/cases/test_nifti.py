"""sform and qform of a NIfTI file that disagree: refused, or the one that is trusted is what the reader goes by."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_missingmod.cases import geometry
from nnunet_missingmod.cases.labels import Grid, read_label_file
from nnunet_missingmod.cases.nifti import disagreement
from nnunet_missingmod.cases.reading import read_files

READERS = (SimpleITKIO, NibabelIO, NibabelIOWithReorient)
SHAPE = (6, 7, 8)
VOXELS = np.random.default_rng(0).uniform(1, 100, SHAPE).astype(np.float32)
PLAIN = np.diag([1.0, 1.0, 2.0, 1.0])


def moved(mm: float) -> np.ndarray:
    affine = PLAIN.copy()
    affine[0, 3] = mm
    return affine


def turned(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    affine = PLAIN.copy()
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine


TURNED_AND_MOVED = turned(90)
TURNED_AND_MOVED[:3, 3] = (40, -3, 5)


def write(
    file: Path,
    *,
    sform: np.ndarray,
    qform: np.ndarray,
    codes: tuple[int, int] = (1, 1),
    voxels=VOXELS,
    version: int = 1,
) -> Path:
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = kind(voxels, None)
    image.header.set_zooms((1, 1, 2))
    image.set_qform(qform, 1)
    image.set_sform(sform, 1, update_affine=True)
    nibabel.save(image, file)
    content = bytearray(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
    struct.pack_into(*(("<2h", content, 252) if version == 1 else ("<2i", content, 344)), *reversed(codes))
    file.write_bytes(gzip.compress(bytes(content)) if file.suffix == ".gz" else content)
    return file


def read(file: Path, reader=SimpleITKIO, **options):
    return read_files(
        {0: file}, ("T1", "T2"), reader(), file_ending=".nii.gz", geometry_tolerance_voxels=0.1, **options
    )


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
def test_disagreement_is_refused_with_how_far_and_the_fix(tmp_path, reader, ending, version):
    file = write(tmp_path / f"a_0000{ending}", sform=moved(40), qform=PLAIN, version=version)
    (problem,) = read(file, reader).problems
    assert f"a_0000{ending} (T1): its sform and its qform lie 40 mm (40 voxels) apart" in problem
    assert '"nifti_transform": "sform" or "qform"' in problem
    assert "--nifti-transform" in problem


@pytest.mark.parametrize(
    ("sform", "mm"),
    [(turned(10), 1.36), (np.diag([-1.0, 1, 2, 1]), 10), (np.diag([1.1, 1.1, 2.2, 1]), 1.61)],
    ids=["rotation", "handedness", "scale"],
)
def test_every_kind_of_disagreement_is_found(tmp_path, sform, mm):
    file = write(tmp_path / "a.nii.gz", sform=sform, qform=PLAIN)
    found = disagreement(file)
    assert found.mm == pytest.approx(mm, rel=0.01)
    assert found.voxels == pytest.approx(found.mm)  # the smallest extent of a voxel is 1 mm
    assert disagreement(file.rename(tmp_path / "A.NII.GZ")).mm == found.mm


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("codes", "sform"), [((1, 0), moved(40)), ((0, 1), moved(40)), ((1, 1), moved(0.05)), ((4, 1), turned(0.01))]
)
def test_one_transform_alone_or_a_difference_of_rounding_is_no_disagreement(tmp_path, reader, codes, sform):
    read_ = read(write(tmp_path / "a_0000.nii.gz", sform=sform, qform=PLAIN, codes=codes), reader)
    assert read_.problems == []
    assert read_.headers == {}


def corners(found) -> np.ndarray:
    placed = geometry.corners_mm(found.images[0].shape[1:], found.properties[0])
    return placed[np.lexsort(placed.T)]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 2), (4, 1)])
@pytest.mark.parametrize(("trusted", "affine"), [("sform", TURNED_AND_MOVED), ("qform", PLAIN)])
def test_what_is_trusted_is_where_the_reader_puts_the_volume(tmp_path, reader, codes, trusted, affine):
    file = write(tmp_path / "a_0000.nii.gz", sform=TURNED_AND_MOVED, qform=PLAIN, codes=codes)
    found = read(file, reader, nifti_transform=trusted)
    assert found.problems == []
    assert found.headers["T1"].endswith(f"apart; the {trusted} was trusted")
    np.testing.assert_array_equal(np.sort(found.images[0], axis=None), np.sort(VOXELS, axis=None))
    alone = write(tmp_path / "b.nii.gz", sform=affine, qform=affine)
    np.testing.assert_allclose(corners(found), corners(read(alone, reader)), atol=1e-4)


@pytest.mark.parametrize("reader", READERS)
def test_the_prediction_is_written_where_what_is_trusted_says(tmp_path, reader):
    file = write(tmp_path / "a_0000.nii.gz", sform=moved(40), qform=PLAIN)
    for trusted, origin in (("sform", 40), ("qform", 0)):
        found = read(file, reader, nifti_transform=trusted)
        labels = (found.images[0][0] > 50).astype(np.uint8)
        reader().write_seg(labels, str(tmp_path / "out.nii.gz"), found.properties[0])
        assert nibabel.load(tmp_path / "out.nii.gz").affine[0, 3] == origin


def test_a_transform_that_the_reader_cannot_use_is_named(tmp_path):
    sheared = PLAIN.copy()
    sheared[0, 1] = 0.3
    file = write(tmp_path / "a_0000.nii.gz", sform=sheared, qform=PLAIN)
    (problem,) = read(file, SimpleITKIO, nifti_transform="sform").problems
    assert "cannot use the sform" in problem
    assert read(file, NibabelIO, nifti_transform="sform").problems == []
    assert read(file, SimpleITKIO, nifti_transform="qform").problems == []
    scaled = write(tmp_path / "b_0000.nii.gz", sform=np.diag([1.2, 1.2, 2.4, 1]), qform=PLAIN)
    (problem,) = read(scaled, SimpleITKIO, nifti_transform="sform").problems
    assert "its reader cannot use the sform (it is 3.21 mm off)" in problem


def test_a_label_map_is_read_by_the_transform_of_its_images(tmp_path):
    labels = (VOXELS > 50).astype(np.uint8)
    image = read(write(tmp_path / "a_0000.nii.gz", sform=moved(40), qform=PLAIN), NibabelIO, nifti_transform="qform")
    grid = Grid(image.images[0].shape[1:], image.properties[0])
    file = write(tmp_path / "a.nii.gz", sform=moved(40), qform=PLAIN, voxels=labels)
    with pytest.raises(ValueError, match="lies 40 voxels off the images' grid"):
        read_label_file(file, NibabelIO(), grid, tolerance_voxels=0.1)
    read_ = read_label_file(file, NibabelIO(), grid, tolerance_voxels=0.1, nifti_transform="qform")
    np.testing.assert_array_equal(read_[0].T, labels)
