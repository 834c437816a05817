"""What readers do not say about files: size against header, checksum, non-finite voxels."""

from __future__ import annotations

import gzip
import logging
import os
import struct
from pathlib import Path
from threading import Thread

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from nnunet_missingmod.cases.integrity import (
    HeaderError,
    check_whole,
    checked_header,
    count_hidden_nonfinite,
    tiff_complaints,
)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.nrrd", "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n{}: {}\n"),
        ("a.NRRD", "NRRD0004\r\ntype: uint8\r\n{}: {}\r\ndimension: 3\r\nsizes: 4 4 4\r\nencoding: raw\r\n\r\n"),
        ("a.mha", "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\n{} = {}\n"),
        ("b.mha", "ObjectType = Image\r\nNDims = 3\r\nDimSize = 4 4 4\r\nElementType = MET_UCHAR\r\n{} = {}\r\n"),
    ],
)
def test_a_header_whose_voxels_lie_in_another_file_is_refused(tmp_path, name, header):
    (tmp_path / "other.raw").write_bytes(bytes(range(64)))
    fields = ["ElementDataFile"] if name.endswith(".mha") else ["data file", "datafile", "Data File"]
    for field in fields:
        for named in (tmp_path / "other.raw", "other.raw", "LIST"):
            (tmp_path / name).write_bytes(header.format(field, named).encode())
            with pytest.raises(ValueError, match=f"its voxels lie in another file, {named}: save it as one file"):
                checked_header(tmp_path / name, strict=False)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_voxels_that_look_like_a_header_are_voxels(tmp_path, ending, compress):
    text = b"\ndata file: x\nElementDataFile = x\n".ljust(64)
    image = sitk.GetImageFromArray(np.frombuffer(text, np.uint8).reshape(4, 4, 4))
    file = tmp_path / f"a{ending}"
    sitk.WriteImage(image, str(file), useCompression=compress)
    checked_header(file, strict=True)


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.nii.gz")
    for file in (tmp_path / "a.nii.gz", Path("/dev/zero")):
        with pytest.raises(ValueError, match="it is a device or a pipe, not a file"):
            check_whole(file)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("big_endian", [False, True])
def test_announced_size_of_every_kind_of_nifti(tmp_path, version, big_endian):
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    header = kind.header_class(endianness=">" if big_endian else "<")
    header.set_data_dtype(np.int16)
    file = tmp_path / "image.nii"
    nibabel.save(kind(np.ones((3, 4, 5), np.int16), np.eye(4), header), file)
    count_hidden_nonfinite(file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated"):
        count_hidden_nonfinite(file)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("compress", [False, True])
def test_nonfinite_voxels_of_nifti_files_are_counted(tmp_path, dtype, compress):
    voxels = np.ones((3, 4, 5), dtype)
    voxels[0, 0, :2] = np.nan
    voxels[1, 1, 1] = -np.inf
    file = tmp_path / ("image.nii.gz" if compress else "image.nii")
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), file)
    assert count_hidden_nonfinite(file) == 3


@pytest.mark.parametrize("size", [0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("version", [1, 2])
def test_voxel_size_that_readers_would_take_for_1_mm_is_refused(tmp_path, size, version):
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = kind(np.ones((3, 4, 5), np.int16), np.eye(4))
    nibabel.save(image, tmp_path / "image.nii")
    saved = bytearray((tmp_path / "image.nii").read_bytes())
    place, form = (88, "<f") if version == 1 else (128, "<d")
    struct.pack_into(form, saved, place, size)
    (tmp_path / "image.nii").write_bytes(saved)
    with pytest.raises(ValueError, match="voxel size of .* along axis 3"):
        count_hidden_nonfinite(tmp_path / "image.nii")


@pytest.mark.parametrize(("kind", "place"), [(nibabel.Nifti1Image, 344), (nibabel.Nifti2Image, 4)])
def test_nifti_that_simpleitk_would_take_for_analyze_is_refused(tmp_path, kind, place):
    nibabel.save(kind(np.ones((3, 4, 5), np.int16), np.eye(4)), tmp_path / "image.nii")
    saved = bytearray((tmp_path / "image.nii").read_bytes())
    for magic in (bytes(3), b"ni1", b"XYZ"):
        saved[place : place + 3] = magic
        (tmp_path / "image.nii").write_bytes(saved)
        with pytest.raises(ValueError, match="its header is damaged: .* in place of"):
            count_hidden_nonfinite(tmp_path / "image.nii")


@pytest.mark.parametrize("number", [0, -5])
def test_extent_that_readers_would_take_for_one_slice_is_refused(tmp_path, number):
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), tmp_path / "image.nii")
    saved = bytearray((tmp_path / "image.nii").read_bytes())
    struct.pack_into("<h", saved, 46, number)
    (tmp_path / "image.nii").write_bytes(saved)
    with pytest.raises(ValueError, match=f"its header gives {number} voxels along axis 3"):
        count_hidden_nonfinite(tmp_path / "image.nii")


def test_negative_voxel_size_and_that_of_a_single_slice_are_left_alone(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 1), np.int16), np.eye(4)), tmp_path / "image.nii")
    saved = bytearray((tmp_path / "image.nii").read_bytes())
    struct.pack_into("<3f", saved, 80, -1.0, 1.0, 0.0)
    (tmp_path / "image.nii").write_bytes(saved)
    assert count_hidden_nonfinite(tmp_path / "image.nii") == 0


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_damage_of_compressed_files_that_simpleitk_hands_out_as_voxels_is_refused(tmp_path, ending):
    voxels = np.random.default_rng(0).integers(1, 255, (12, 40, 44)).astype(np.float32)
    file = tmp_path / f"image{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(file), True)
    content = file.read_bytes()
    assert count_hidden_nonfinite(file) == 0
    middle = len(content) // 2
    file.write_bytes(content[:middle] + bytes(100) + content[middle + 100 :])
    with pytest.raises(ValueError, match="the file is damaged"):
        count_hidden_nonfinite(file)
    file.write_bytes(content[:-3])
    with pytest.raises(ValueError, match="compressed data end too early"):
        count_hidden_nonfinite(file)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(file), False)
    assert count_hidden_nonfinite(file) == 0


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "image.nii.gz").mkdir()
    with pytest.raises(ValueError, match="it is a folder"):
        count_hidden_nonfinite(tmp_path / "image.nii.gz")


@pytest.mark.parametrize("length", [1, 347])
def test_nifti_shorter_than_its_header_is_refused(tmp_path, length):
    file = tmp_path / "image.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), file)
    file.write_bytes(file.read_bytes()[:length])
    (tmp_path / "image.nii.gz").write_bytes(gzip.compress(file.read_bytes()))
    for damaged in (file, tmp_path / "image.nii.gz"):
        with pytest.raises(
            ValueError, match=rf"{damaged.name} is truncated: it has {length} bytes, less than a NIfTI header"
        ):
            check_whole(damaged)


@pytest.mark.parametrize("ending", [".nii", ".NII", ".nii.gz"])
def test_a_nifti_file_that_is_compressed_though_its_name_does_not_say_so_is_refused(tmp_path, ending):
    file = tmp_path / f"image{ending}"
    content = gzip.compress(b"any")
    file.write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    with pytest.raises(ValueError, match="it is compressed by gzip, which its name does not say"):
        count_hidden_nonfinite(file)


@pytest.mark.parametrize("ending", [".NII", ".NII.GZ", ".GIPL", ".NRRD"])
def test_endings_in_capitals_are_checked_as_others(tmp_path, ending):
    file = tmp_path / f"image{ending.lower()}"
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32))
    sitk.WriteImage(image, str(file), ending == ".NRRD")
    file = file.rename(tmp_path / f"image{ending}")
    count_hidden_nonfinite(file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="truncated"):
        count_hidden_nonfinite(file)


def test_a_file_with_nonfinite_voxels_is_whole(tmp_path):
    file = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((3, 4, 5), np.nan, np.float32), np.eye(4)), file)
    check_whole(file)
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-8]))
    with pytest.raises(
        ValueError, match=r"/image\.nii\.gz is truncated: its header announces 592 bytes, 584 are there\.$"
    ):
        check_whole(file)


def test_a_message_of_a_whole_file_begins_with_the_file_whatever_is_wrong(tmp_path):
    file = tmp_path / "image.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), file)
    saved = bytearray(file.read_bytes())
    struct.pack_into("<h", saved, 46, 0)
    file.write_bytes(saved)
    with pytest.raises(ValueError, match=rf"^{file}: its header gives 0 voxels along axis 3\.$"):
        check_whole(file)


def test_the_axis_of_vectors_needs_no_voxel_size(tmp_path):
    image = sitk.GetImageFromArray(np.ones((3, 4, 5, 2), np.float32), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    check_whole(tmp_path / "image.nii.gz")


def test_integers_have_no_nonfinite_voxels(tmp_path):
    file = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((3, 4, 5), -1, np.int16), np.eye(4)), file)
    assert count_hidden_nonfinite(file) == 0


def test_other_files_are_left_to_their_readers(tmp_path):
    (tmp_path / "image.png").write_bytes(b"anything")
    assert count_hidden_nonfinite(tmp_path / "image.png") == 0
    (tmp_path / "notes.txt.gz").write_bytes(gzip.compress(b"anything"))
    assert count_hidden_nonfinite(tmp_path / "notes.txt.gz") == 0


def test_complaints_of_tifffile_are_collected_only_inside():
    import logging

    with tiff_complaints() as complaints:
        logging.getLogger("tifffile").warning("page %d is gone", 3)
    logging.getLogger("tifffile").warning("later")
    assert complaints == ["page 3 is gone"]


@pytest.mark.parametrize(
    ("ending", "kind"), [(".nii", np.complex64), (".nii.gz", np.complex128), (".nrrd", np.complex64)]
)
def test_complex_voxels_are_refused(tmp_path, ending, kind):
    file = tmp_path / f"image{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(np.full((3, 4, 5), 1 + 2j, kind)), str(file))
    with pytest.raises(ValueError, match="its voxels are no real numbers, but complex.*such as the magnitude"):
        count_hidden_nonfinite(file)


def test_complex_pixels_of_a_tif_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", np.full((30, 20), 1 + 2j, np.complex64))
    with pytest.raises(ValueError, match="its pixels are complex numbers"):
        count_hidden_nonfinite(tmp_path / "image.tif")


@pytest.mark.parametrize(("bands", "kind"), [("RGB", "RGB"), ("RGBA", "RGBA")])
def test_colours_in_a_nifti_file_are_refused(tmp_path, bands, kind):
    voxels = np.zeros((3, 4, 5), dtype=[(band, "u1") for band in bands])
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "image.nii.gz")
    with pytest.raises(ValueError, match=f"its voxels are no real numbers, but {kind}:"):
        count_hidden_nonfinite(tmp_path / "image.nii.gz")


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float64])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_every_type_of_real_voxels_is_taken(tmp_path, kind, ending):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4, 5), kind)), str(tmp_path / f"image{ending}"))
    assert count_hidden_nonfinite(tmp_path / f"image{ending}") == 0


def test_a_header_that_no_image_has_can_be_taken_as_readers_take_it(tmp_path):
    file = tmp_path / "image.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4)), file)
    saved = bytearray(file.read_bytes())
    struct.pack_into("<f", saved, 88, 0.0)
    file.write_bytes(saved)
    with pytest.raises(HeaderError, match=r'voxel size of 0.0 along axis 3. Correct the header, or .*"as_read"'):
        checked_header(file, strict=True)
    hidden, overlooked = checked_header(file, strict=False)
    assert hidden == 0
    assert overlooked == ["its header gives a voxel size of 0.0 along axis 3; it was taken as the reader takes it"]


def test_complaints_about_a_file_that_another_thread_reads_are_its_own():
    logger = logging.getLogger("tifffile")
    with tiff_complaints() as complaints:
        other = Thread(target=logger.warning, args=("of the other's file",))
        other.start()
        other.join()
        logger.warning("of ours")
    assert complaints == ["of ours"]


def with_offset(file, offset, *, version=1, big_endian=False, first=None):
    """Write an image whose header says that its voxels begin at a byte; ``first`` is where they do."""
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    place, form, standard = (108, "f", 352) if version == 1 else (168, "q", 544)
    order = ">" if big_endian else "<"
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.float32)
    nibabel.save(kind(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4), header), file)
    saved = bytearray(file.read_bytes())
    saved[standard:standard] = bytes(max((first or 0) - standard, 0))
    del saved[first or standard : standard]
    struct.pack_into(order + form, saved, place, offset)
    file.write_bytes(saved)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("offset", [0, 100, 348, 351, -352, np.nan, np.inf])
def test_voxels_that_begin_inside_of_the_header_are_refused_as_readers_shift_them(tmp_path, offset, big_endian):
    file = tmp_path / "image.nii"
    with_offset(file, offset, big_endian=big_endian)
    assert not np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(file))).T.ravel(), np.arange(60))
    with pytest.raises(HeaderError, match=r"the voxels begin at byte \S+, where none can be: the first is 352"):
        count_hidden_nonfinite(file)
    assert checked_header(file, strict=False)[0] == 0


@pytest.mark.parametrize("offset", [0, 352, 540, -1])
def test_voxels_that_begin_inside_of_the_header_of_nifti_2_are_refused(tmp_path, offset):
    with_offset(tmp_path / "image.nii", offset, version=2)
    with pytest.raises(HeaderError, match="where none can be: the first is 544"):
        count_hidden_nonfinite(tmp_path / "image.nii")


@pytest.mark.parametrize("first", [348, 352, 368, 1024])
@pytest.mark.parametrize("big_endian", [False, True])
def test_voxels_that_begin_where_the_header_says_are_taken(tmp_path, first, big_endian):
    file = tmp_path / "image.nii"
    with_offset(file, first, first=first, big_endian=big_endian)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(file))).T.ravel(), np.arange(60))
    assert count_hidden_nonfinite(file) == 0
