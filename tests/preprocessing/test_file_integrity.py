"""What readers do not say about files: size against header, checksum, non-finite voxels."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest

from nnunet_missingmod.preprocessing.file_integrity import count_hidden_nonfinite, tiff_complaints


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
