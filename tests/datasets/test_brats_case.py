from __future__ import annotations

import errno
import gzip
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod.datasets.brats_case import (
    Conversion,
    convert_case,
    converted_files,
    read_labels,
)
from nnunet_missingmod.datasets.brats_naming import CHANNELS, find_cases
from nnunet_missingmod.errors import FailedError

VALUES = {"FLAIR": 10, "T1": 20, "T1ce": 30, "T2": 40}


def voxels(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture
def convert(tmp_path):
    """Return a function that converts every case of a folder and returns the dataset folder."""

    def run(source, **options):
        dataset = tmp_path / "Dataset001_BraTS"
        for case in find_cases(source)[0].values():
            convert_case(case, Conversion(dataset, **options))
        return dataset

    return run


@pytest.mark.parametrize("naming", ["old", "new"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("symlink", [False, True])
def test_every_modality_lands_in_its_channel_with_its_geometry(make_source, convert, naming, ending, symlink):
    dataset = convert(make_source("c1", naming=naming, ending=ending, labels=(0, 1, 2, 3)), symlink=symlink)
    for channel, modality in enumerate(CHANNELS):
        file = dataset / "imagesTr" / f"c1_{channel:04d}.nii.gz"
        assert (voxels(file) == VALUES[modality]).all()
        assert file.is_symlink() == (symlink and ending == ".nii.gz")
        assert sitk.ReadImage(str(file)).GetOrigin() == (0.0, -239.0, 0.0)
        with gzip.open(file) as stream:
            assert len(stream.read()) > 348
    label = sitk.ReadImage(str(dataset / "labelsTr" / "c1.nii.gz"))
    assert label.GetOrigin() == (0.0, -239.0, 0.0)
    assert label.GetPixelID() == sitk.sitkUInt8
    assert not (dataset / "labelsTr" / "c1.nii.gz").is_symlink()


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_up_to_2021_label_4_becomes_3_and_the_others_stay(make_source, convert, dtype):
    dataset = convert(make_source("c1", labels=(0, 1, 2, 4), dtype=dtype))
    np.testing.assert_array_equal(voxels(dataset / "labelsTr" / "c1.nii.gz"), np.resize([0, 1, 2, 3], (3, 4, 5)))


def test_labels_that_are_0_to_3_already_stay(make_source, convert):
    for naming in ("old", "new"):
        dataset = convert(make_source(naming, naming=naming, labels=(0, 1, 2, 3)))
        np.testing.assert_array_equal(
            voxels(dataset / "labelsTr" / f"{naming}.nii.gz"), np.resize([0, 1, 2, 3], (3, 4, 5))
        )


def test_from_2023_on_label_4_is_refused_unless_the_cavity_is_kept(make_source, convert):
    source = make_source("c1", naming="new", labels=(0, 1, 2, 3, 4))
    with pytest.raises(ValueError, match="--keep-cavity"):
        convert(source)
    dataset = convert(source, keep_cavity=True)
    np.testing.assert_array_equal(voxels(dataset / "labelsTr" / "c1.nii.gz"), np.resize([0, 1, 2, 3, 4], (3, 4, 5)))


def test_keeping_the_cavity_does_not_touch_the_naming_up_to_2021(make_source, convert):
    dataset = convert(make_source("c1", labels=(0, 4)), keep_cavity=True)
    assert set(np.unique(voxels(dataset / "labelsTr" / "c1.nii.gz"))) == {0, 3}


@pytest.mark.parametrize("labels", [(0, 5), (0, -1), (0, 1.5), (0, 1, 2, 255)])
@pytest.mark.parametrize("naming", ["old", "new"])
def test_labels_that_brats_has_not_are_refused(make_source, labels, naming):
    source = make_source("c1", naming=naming, labels=labels, dtype=np.float32)
    (case,) = find_cases(source)[0].values()
    with pytest.raises(ValueError, match=f"{labels[-1]:g}.*BraTS has 0 to 4"):
        read_labels(case.segmentation, from_2023=case.from_2023, keep_cavity=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_segmentation_with_what_is_no_number_is_refused(make_source, value):
    """SimpleITK reads it as 0: the tumour would become background."""
    source = make_source("c1", labels=(0, 4), dtype=np.float32)
    (case,) = find_cases(source)[0].values()
    image = nibabel.load(case.segmentation)
    array = np.asarray(image.dataobj).copy()
    count = int((array == 4).sum())
    array[array == 4] = value
    nibabel.save(nibabel.Nifti1Image(array, image.affine), case.segmentation)
    with pytest.raises(ValueError, match=rf"seg.* holds {count} values that are NaN or infinite"):
        read_labels(case.segmentation, from_2023=False, keep_cavity=False)


def test_labels_3_and_4_together_are_not_merged(make_source, convert):
    with pytest.raises(ValueError, match="3 and 4"):
        convert(make_source("c1", labels=(0, 3, 4)))


@pytest.mark.parametrize("name", ["BraTS-PED-00001-000", "brats-ped-00001-000"])
def test_paediatric_segmentations_are_refused_but_their_images_are_not(make_source, convert, name):
    with pytest.raises(ValueError, match="Pediatrics"):
        convert(make_source(name, naming="new", labels=(0, 1)))
    dataset = convert(make_source(name, naming="new", labels=None, folder="unlabelled"))
    assert len(list((dataset / "imagesTs").iterdir())) == 4


def test_a_case_with_missing_files_keeps_the_channels_of_those_it_has(make_source, convert):
    dataset = convert(make_source("c1", modalities=("T2", "T1")))
    assert sorted(path.name for path in (dataset / "imagesTr").iterdir()) == ["c1_0001.nii.gz", "c1_0003.nii.gz"]
    assert (voxels(dataset / "imagesTr" / "c1_0003.nii.gz") == VALUES["T2"]).all()


def test_a_case_without_segmentation_and_every_test_case_go_to_the_test_folders(make_source, convert):
    make_source("c1", labels=None)
    dataset = convert(make_source("c2"))
    assert {path.name[:2] for path in (dataset / "imagesTs").iterdir()} == {"c1"}
    assert {path.name[:2] for path in (dataset / "imagesTr").iterdir()} == {"c2"}
    convert(make_source("c3", folder="more"), test=True)
    assert (dataset / "imagesTs" / "c3_0000.nii.gz").exists()
    assert (dataset / "labelsTs" / "c3.nii.gz").exists()


def refusals():
    def truncate_gz(file):
        file.write_bytes(file.read_bytes()[:-20])

    def truncate_inside(file):
        content = gzip.decompress(file.read_bytes())
        file.write_bytes(gzip.compress(content[:-8]))

    def no_image(file):
        file.write_text("no image")

    def empty(file):
        file.write_bytes(b"")

    def not_nifti(file):
        file.write_bytes(gzip.compress(bytes(1000)))

    return [truncate_gz, truncate_inside, no_image, empty, not_nifti]


@pytest.mark.parametrize("damage", refusals(), ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("suffix", ["t2", "seg"])
def test_a_damaged_file_is_named_and_nothing_of_its_case_is_written(make_source, convert, tmp_path, damage, suffix):
    source = make_source("c1")
    damage(source / "c1" / f"c1_{suffix}.nii.gz")
    with pytest.raises(ValueError, match=rf"c1_{suffix}\.nii\.gz"):
        convert(source)
    assert list(tmp_path.glob("Dataset*/images*/*")) == []


def test_a_truncated_uncompressed_file_is_refused(make_source, convert):
    source = make_source("c1", ending=".nii")
    file = source / "c1" / "c1_t1.nii"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"c1_t1\.nii is truncated"):
        convert(source)


def test_files_on_different_grids_are_refused(make_source, convert):
    with pytest.raises(ValueError, match=r"c1_t2\.nii\.gz has shape \(2, 4, 5\).*one grid"):
        convert(make_source("c1", shapes={"T2": (2, 4, 5)}))


@pytest.mark.parametrize("vectors", [False, True])
def test_four_axes_and_vectors_are_refused(make_source, convert, vectors):
    source = make_source("c1")
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.int16), isVector=vectors)
    sitk.WriteImage(image, str(source / "c1" / "c1_t1.nii.gz"))
    with pytest.raises(ValueError, match=r"c1_t1\.nii\.gz is no volume of three axes"):
        convert(source)


def test_a_segmentation_alone_is_refused(make_source, convert):
    with pytest.raises(ValueError, match="no image of FLAIR, T1, T1ce, T2"):
        convert(make_source("c1", modalities=()))


def test_a_case_is_replaced_as_a_whole(make_source, convert):
    convert(make_source("c1"))
    dataset = convert(make_source("c1", modalities=("T1",), labels=None, folder="other"))
    assert [path.relative_to(dataset).as_posix() for path in converted_files(dataset, "c1")] == [
        "imagesTs/c1_0001.nii.gz"
    ]


def test_a_refused_case_does_not_replace_what_was_there(make_source, convert, tmp_path):
    dataset = convert(make_source("c1"))
    before = converted_files(dataset, "c1")
    with pytest.raises(ValueError, match="9"):
        convert(make_source("c1", labels=(0, 9), folder="other"))
    assert converted_files(dataset, "c1") == before
    assert len(before) == 5


def shifted(image):
    image.SetOrigin((62.8, -239.0, 0.0))


def flipped(image):
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))


def half_a_voxel_off(image):
    image.SetOrigin((0.0, -239.5, 0.0))


@pytest.mark.parametrize("move", [shifted, flipped, half_a_voxel_off])
@pytest.mark.parametrize("suffix", ["t1ce", "seg"])
def test_files_at_another_place_in_space_are_refused(make_source, convert, tmp_path, move, suffix):
    source = make_source("c1")
    file = source / "c1" / f"c1_{suffix}.nii.gz"
    image = sitk.ReadImage(str(file))
    move(image)
    sitk.WriteImage(image, str(file))
    with pytest.raises(ValueError, match=rf"c1_{suffix}\.nii\.gz has shape .*origin .*direction .*lie on one grid"):
        convert(source)
    assert not (tmp_path / "Dataset001_BraTS").exists()


def test_a_position_that_differs_by_rounding_is_accepted(make_source, convert):
    source = make_source("c1")
    file = source / "c1" / "c1_seg.nii.gz"
    image = sitk.ReadImage(str(file))
    image.SetOrigin((0.01, -239.02, 0.0))
    sitk.WriteImage(image, str(file))
    assert (convert(source) / "labelsTr" / "c1.nii.gz").exists()


@pytest.mark.parametrize("keep_cavity", [False, True])
def test_label_4_is_not_guessed_where_the_names_are_those_of_more_than_one_year(make_source, convert, keep_cavity):
    source = make_source("Brats18_x", naming="new", modalities=("T1ce", "T2"), labels=(0, 1, 2, 4))
    with pytest.raises(ValueError, match="if it is the enhancing tumour .*CASE_t1ce.*if it is the resection cavity"):
        convert(source, keep_cavity=keep_cavity)


def test_label_4_beside_3_is_the_cavity_even_where_the_names_are_those_of_more_than_one_year(make_source, convert):
    source = make_source("c1", naming="new", modalities=("T1ce", "T2"), labels=(0, 1, 2, 3, 4))
    with pytest.raises(ValueError, match="--keep-cavity keeps it as the label RC.$"):
        convert(source)
    dataset = convert(source, keep_cavity=True)
    assert set(np.unique(voxels(dataset / "labelsTr" / "c1.nii.gz"))) == {0, 1, 2, 3, 4}


def test_label_4_without_3_may_be_either_in_the_names_from_2023_on(make_source, convert):
    source = make_source("Brats18_x", naming="new", labels=(0, 1, 2, 4))
    with pytest.raises(ValueError, match="--keep-cavity.*If it is the enhancing tumour.*CASE_t1ce"):
        convert(source)


def test_of_many_labels_ten_are_listed_and_the_others_counted(make_source, convert):
    with pytest.raises(ValueError, match="holds the labels 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 50 others; BraTS has"):
        convert(make_source("c1", labels=tuple(range(60))))


def test_a_full_disk_is_a_failure_of_the_dataset_and_not_of_the_case(make_source, convert, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(FailedError, match="Cannot write into .*Dataset001_BraTS: No space left on device"):
        convert(make_source("c1"))
    assert not list((tmp_path / "Dataset001_BraTS").rglob("c1*"))


def test_a_segmentation_that_is_cut_short_by_a_full_disk_is_a_failure(make_source, convert, monkeypatch, tmp_path):
    source, write = make_source("c1"), sitk.WriteImage

    def cut(image, file, **options):
        write(image, file, **options)
        with open(file, "r+b") as stream:
            stream.truncate(40)

    monkeypatch.setattr(sitk, "WriteImage", cut)
    with pytest.raises(FailedError, match=r"c1\.nii\.gz is not written whole"):
        convert(source)
    assert not list((tmp_path / "Dataset001_BraTS").rglob("c1*"))


def test_a_name_that_is_too_long_to_be_written_is_refused_as_the_fault_of_its_case(make_source, convert, monkeypatch):
    def too_long(*_):
        raise OSError(errno.ENAMETOOLONG, "File name too long")

    monkeypatch.setattr(shutil, "copyfile", too_long)
    with pytest.raises(OSError, match="File name too long"):
        convert(make_source("c1"))
