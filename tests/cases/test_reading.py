"""Bad files: each fault is injected into a real case and must be refused by name, or handled as documented."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from skimage import io

from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor


def run(tiny, files, block=None, configuration="3d_fullres"):
    manager = PlansManager(tiny.plans)
    chosen = manager.get_configuration(configuration)
    chosen.configuration["missingmod"] = block or {}
    return MissingModPreprocessor(verbose=False).run_case(
        [str(file) for file in files], None, manager, chosen, tiny.dataset_json
    )


def rewrite(file: Path, change):
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    changed = sitk.GetImageFromArray(change(array))
    changed.CopyInformation(image) if changed.GetSize() == image.GetSize() else None
    sitk.WriteImage(changed, str(file))


def with_nan(array):
    array[4, 5, 6:9] = np.nan
    return array


def with_inf(array):
    array[4, 5, 6:9] = np.inf
    return array


def test_blank_file_counts_as_absent_with_a_warning(make_tiny_dataset, caplog):
    tiny = make_tiny_dataset()
    rewrite(tiny.image("case_000", 1), lambda array: np.full_like(array, 7))
    with caplog.at_level(logging.WARNING):
        data, _, properties = run(tiny, tiny.images("case_000"))
    np.testing.assert_array_equal(np.isnan(data).all((1, 2, 3)), [False, True, False, False])
    assert properties["missingmod"]["blank"] == ["T1"]
    assert "'case_000': T1 is blank (every voxel is 7)" in caplog.text
    without = run(tiny, [file for file in tiny.images("case_000") if "_0001" not in file])[0]
    np.testing.assert_array_equal(data, without)


def test_blank_file_is_an_image_where_the_user_says_so(make_tiny_dataset):
    tiny = make_tiny_dataset()
    rewrite(tiny.image("case_000", 1), lambda array: np.full_like(array, 7))
    assert np.isfinite(run(tiny, tiny.images("case_000"), {"blank_is_absent": False})[0]).all()


def test_case_of_blank_files_only_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    rewrite(tiny.image("case_000", 2), np.zeros_like)
    with pytest.raises(CaseRefusedError, match="case_000.*T1ce blank, the others absent.*FLAIR, T1, T1ce, T2"):
        run(tiny, [tiny.image("case_000", 2)])


@pytest.mark.parametrize("spoil", [with_nan, with_inf])
def test_nonfinite_voxels_are_refused_by_default(make_tiny_dataset, spoil):
    tiny = make_tiny_dataset()
    rewrite(tiny.image("case_000", 3), spoil)
    with pytest.raises(CaseRefusedError, match='case_000.*T2 has 3 NaN or infinite voxels.*"nonfinite": "zero"'):
        run(tiny, tiny.images("case_000"))


@pytest.mark.parametrize("spoil", [with_nan, with_inf])
def test_nonfinite_voxels_become_zero_and_are_counted_where_the_user_says_so(make_tiny_dataset, spoil):
    tiny = make_tiny_dataset()
    rewrite(tiny.image("case_000", 3), spoil)
    data, _, properties = run(tiny, tiny.images("case_000"), {"nonfinite": "zero"})
    assert np.isfinite(data).all()
    assert properties["missingmod"]["nonfinite_zeroed"] == {"T2": 3}


def test_image_of_nan_only_on_disk_is_refused_like_any_nan(make_tiny_dataset):
    tiny = make_tiny_dataset()
    rewrite(tiny.image("case_000", 3), lambda array: np.full_like(array, np.nan))
    with pytest.raises(CaseRefusedError, match="T2.*no voxel is finite"):
        run(tiny, tiny.images("case_000"), {"nonfinite": "zero"})


def test_truncated_gzip_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    file = tiny.image("case_000", 2)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    with pytest.raises(CaseRefusedError, match=r"case_000.*T1ce\) cannot be read: the file is truncated"):
        run(tiny, tiny.images("case_000"))


def test_whole_gzip_of_a_truncated_image_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    file = tiny.image("case_000", 2)
    content = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(content[: len(content) * 6 // 10]))
    with pytest.raises(CaseRefusedError, match="truncated: its header announces"):
        run(tiny, tiny.images("case_000"))


def test_flipped_bit_in_a_gzip_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    file = tiny.image("case_000", 2)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(CaseRefusedError, match="damaged"):
        run(tiny, tiny.images("case_000"))


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x00" * 5000])
def test_empty_files_and_files_that_are_no_images_are_refused(make_tiny_dataset, content):
    tiny = make_tiny_dataset()
    tiny.image("case_000", 0).write_bytes(content)
    with pytest.raises(CaseRefusedError, match=r"case_000_0000.nii.gz \(FLAIR\) cannot be read"):
        run(tiny, tiny.images("case_000"))


@pytest.mark.parametrize("file_ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".gipl"])
def test_truncation_is_noticed_in_every_format_of_simpleitk(make_tiny_dataset, file_ending):
    tiny = make_tiny_dataset(file_ending=file_ending)
    run(tiny, tiny.images("case_000"))
    file = tiny.image("case_000", 0)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    with pytest.raises(CaseRefusedError, match="FLAIR"):
        run(tiny, tiny.images("case_000"))


@pytest.mark.parametrize("reader", ["NibabelIO", "NibabelIOWithReorient"])
def test_nibabel_readers(make_tiny_dataset, reader):
    tiny = make_tiny_dataset(reader=reader)
    data = run(tiny, tiny.images("case_000")[1:3])[0]
    np.testing.assert_array_equal(np.isfinite(data).all((1, 2, 3)), [False, True, True, False])
    rewrite_origin(tiny.image("case_000", 2), (5.0, 0, 0))
    with pytest.raises(CaseRefusedError, match="affine"):
        run(tiny, tiny.images("case_000")[1:3])


def rewrite_origin(file: Path, origin):
    image = sitk.ReadImage(str(file))
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(file))


def test_other_shape_is_refused_with_both_geometries(make_tiny_dataset):
    tiny = make_tiny_dataset()
    rewrite(tiny.image("case_000", 1), lambda array: array[:-1])
    message = r"T1\).*\(18, 20, 22\).*\(17, 20, 22\)|\(18, 20, 22\).*T1\): shape \(17, 20, 22\)"
    with pytest.raises(CaseRefusedError, match=message):
        run(tiny, tiny.images("case_000"))


@pytest.mark.parametrize("part", ["spacing", "origin", "direction"])
def test_other_spacing_origin_or_direction_is_refused_with_both_geometries(make_tiny_dataset, part):
    tiny = make_tiny_dataset()
    image = sitk.ReadImage(str(tiny.image("case_000", 1)))
    if part == "spacing":
        image.SetSpacing((1.1, 1, 1))
    elif part == "origin":
        image.SetOrigin((0, 0, 1))
    else:
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tiny.image("case_000", 1)))
    with pytest.raises(CaseRefusedError, match=r"different voxel grids.*FLAIR.*origin.*T1\).*origin"):
        run(tiny, tiny.images("case_000"))


def test_rounding_of_the_origin_is_accepted_and_the_tolerance_can_be_raised(make_tiny_dataset):
    tiny = make_tiny_dataset()
    rewrite_origin(tiny.image("case_000", 1), (0, 0, 1e-3))
    run(tiny, tiny.images("case_000"))
    rewrite_origin(tiny.image("case_000", 1), (0, 0, 3.0))
    _, _, properties = run(tiny, tiny.images("case_000"), {"geometry_tolerance_voxels": 3.5})
    assert properties["missingmod"]["grid_distance_voxels"] == {"T1": 3.0}


def test_file_of_several_channels_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    stacked = sitk.JoinSeries([sitk.ReadImage(file) for file in tiny.images("case_000")[:2]])
    sitk.WriteImage(stacked, str(tiny.image("case_000", 1)))
    with pytest.raises(CaseRefusedError, match=r"_0001.nii.gz \(T1\) holds 2 channels, one is expected"):
        run(tiny, [tiny.image("case_000", 1)])


def test_rgb_image_in_one_file_is_a_complete_case(make_tiny_dataset):
    tiny = make_tiny_dataset(names=("R", "G", "B"), file_ending=".png", reader="NaturalImage2DIO", num_cases=0)
    rng = np.random.default_rng(0)
    io.imsave(tiny.image("scan", 0), rng.integers(1, 255, (20, 24, 3)).astype(np.uint8), check_contrast=False)
    data = run(tiny, [tiny.image("scan", 0)], configuration="2d")[0]
    assert data.shape == (3, 1, 20, 24)
    assert np.isfinite(data).all()


@pytest.mark.parametrize("file_ending", [".png", ".bmp", ".tif"])
def test_2d_image_files_one_per_modality(make_tiny_dataset, file_ending):
    tiny = make_tiny_dataset(names=("A", "B"), file_ending=file_ending, reader="NaturalImage2DIO", num_cases=0)
    rng = np.random.default_rng(0)
    for channel in range(2):
        pixels = rng.integers(1, 255, (20, 24)).astype(np.uint8)
        io.imsave(tiny.image("scan", channel), pixels, check_contrast=False)
    data = run(tiny, [tiny.image("scan", 1)], configuration="2d")[0]
    np.testing.assert_array_equal(np.isnan(data).all((1, 2, 3)), [True, False])


def test_3d_tif_files_and_their_truncation(make_tiny_dataset):
    tiny = make_tiny_dataset(names=("A", "B"), file_ending=".tif", reader="Tiff3DIO", num_cases=0)
    rng = np.random.default_rng(0)
    for channel in range(2):
        voxels = rng.integers(1, 255, (12, 64, 64)).astype(np.uint8)
        tifffile.imwrite(tiny.image("scan", channel), voxels, compression="zlib", metadata=None)
    data = run(tiny, [tiny.image("scan", 0)])[0]
    np.testing.assert_array_equal(np.isnan(data).all((1, 2, 3)), [False, True])
    file = tiny.image("scan", 0)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    with pytest.raises(CaseRefusedError, match="scan_0000.tif"):
        run(tiny, [file])


def test_slice_is_refused_by_a_model_of_volumes_and_taken_by_one_of_slices(make_tiny_dataset):
    tiny = make_tiny_dataset()
    for channel in (1, 3):
        image = sitk.ReadImage(str(tiny.image("case_000", channel)))
        sitk.WriteImage(image[:, :, 9], str(tiny.image("case_000", channel)))
    files = [tiny.image("case_000", channel) for channel in (1, 3)]
    assert run(tiny, files, configuration="2d")[0].shape[1] == 1
    message = r"_0001.nii.gz \(T1\) has two dimensions, but the model works on volumes.*_0003.nii.gz \(T2\) has two"
    with pytest.raises(CaseRefusedError, match=message):
        run(tiny, files)


def test_a_slice_is_refused_by_a_model_of_volumes_of_one_modality_too(make_tiny_dataset):
    tiny = make_tiny_dataset(("CT",), num_cases=1)
    file = tiny.image("case_000", 0)
    sitk.WriteImage(sitk.ReadImage(str(file))[:, :, 9], str(file))
    assert run(tiny, [file], configuration="2d")[0].shape[1] == 1
    with pytest.raises(CaseRefusedError, match=r"_0000.nii.gz \(CT\) has two dimensions, but the model works on"):
        run(tiny, [file])


def test_file_of_vectors_is_refused_with_their_length(make_tiny_dataset):
    tiny = make_tiny_dataset()
    volume = sitk.ReadImage(str(tiny.image("case_000", 1)))
    for image in (volume, volume[:, :, 9]):
        sitk.WriteImage(sitk.Compose([image] * 2), str(tiny.image("case_000", 1)))
        with pytest.raises(CaseRefusedError, match=r"_0001.nii.gz \(T1\) holds 2 channels, one is expected"):
            run(tiny, [tiny.image("case_000", 1)])


def test_copy_of_another_modality_is_pointed_out(make_tiny_dataset, caplog):
    tiny = make_tiny_dataset()
    tiny.image("case_000", 3).write_bytes(tiny.image("case_000", 1).read_bytes())
    for channel in (0, 2):
        rewrite(tiny.image("case_000", channel), np.zeros_like)  # blank ones are no copies of one another
    with caplog.at_level(logging.WARNING):
        _, _, properties = run(tiny, tiny.images("case_000"))
    assert properties["missingmod"]["copies"] == {"T2": "T1"}
    assert "'case_000': T2 holds the same voxels as T1. Check that it is the right file." in caplog.text


def with_another_affine(file: Path, affine, spacing=(1, 1, 1)):
    image = nibabel.load(file)
    changed = nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    changed.header.set_zooms(spacing)
    changed.header.set_sform(affine, 1)
    changed.header.set_qform(None, 0)
    nibabel.save(changed, file)


def test_header_that_contradicts_itself_is_taken_as_read_where_the_user_says_so(make_tiny_dataset, caplog):
    tiny = make_tiny_dataset(reader="NibabelIO")
    for channel in range(4):
        with_another_affine(tiny.image("case_000", channel), np.diag([10, 10, 10, 1]))
    message = r"T1\): its spacing .* contradicts its axes .* Correct the header, or .*\(predict: --headers as_read\)"
    with pytest.raises(CaseRefusedError, match=message):
        run(tiny, tiny.images("case_000"))
    data, _, properties = run(tiny, tiny.images("case_000"), {"headers": "as_read"})
    assert np.isfinite(data).all()
    assert "contradicts its axes" in properties["missingmod"]["headers"]["T1"]
    assert "'case_000': T1: its spacing" in caplog.text


def test_position_that_is_none_is_still_compared_where_headers_are_taken_as_read(make_tiny_dataset):
    tiny = make_tiny_dataset(reader="NibabelIO")
    nowhere = np.eye(4)
    nowhere[0, 3] = np.nan
    for channel in (0, 1):
        with_another_affine(tiny.image("case_000", channel), nowhere)
    same = run(tiny, tiny.images("case_000")[:2], {"headers": "as_read"})[2]
    assert same["missingmod"]["grid_distance_voxels"] == {}
    with pytest.raises(CaseRefusedError, match="different voxel grids"):
        run(tiny, tiny.images("case_000")[1:3], {"headers": "as_read"})


@pytest.mark.parametrize("reader", ["NibabelIOWithReorient", "SimpleITKIOWithReorient"])
def test_modalities_in_other_orientations_are_one_case_for_every_subset(make_tiny_dataset, reader):
    tiny = make_tiny_dataset(names=("A", "B", "C"), reader=reader, num_cases=1)
    before = run(tiny, tiny.images("case_000"))[0]
    for channel, orientation in ((1, "RAS"), (2, "PIR")):
        image = sitk.ReadImage(str(tiny.image("case_000", channel)))
        sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(tiny.image("case_000", channel)))
    for subset in all_subsets(3):
        data = run(tiny, [tiny.image("case_000", channel) for channel in subset])[0]
        for channel in subset:
            np.testing.assert_array_equal(data[channel], before[channel])
