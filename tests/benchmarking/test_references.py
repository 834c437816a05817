"""What is wrong with a reference is known, by case, before anything is predicted."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from nnunet_missingmod.benchmarking.cases import EvaluationCase
from nnunet_missingmod.benchmarking.references import check_references, read_labels
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.workers import Workers

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


def task(reader="SimpleITKIO", ending=".nii.gz", labels=(0, 1, 2, 3)):
    return Task(("T1", "T2"), REGIONS, None, ending, labels, reader)


def write(file, array, *, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(file))
    return file


def labels(*values, dtype=np.uint8):
    array = np.zeros((6, 7, 8), dtype)
    array[2:4, 2:4, 2:4] = np.resize(values, (2, 2, 2))
    return array


@pytest.fixture
def make(tmp_path):
    """Return a function that writes a case with a reference, which a test may write otherwise."""

    def case(name, array, **geometry):
        image = write(tmp_path / f"{name}_0000.nii.gz", np.ones((6, 7, 8), np.float32))
        return EvaluationCase(name, {0: image}, write(tmp_path / f"{name}.nii.gz", array, **geometry))

    return case


def check(*cases, label_map=None, of=None, jobs=1, **choices):
    with Workers(jobs) as workers:
        return check_references(cases, of or task(), label_map or {}, choices=resolve(choices), workers=workers)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_good_reference_is_usable_with_its_grid_and_values(make, jobs):
    found = check(make("a", labels(1, 3)), make("b", labels(2.0, dtype=np.float64)), jobs=jobs)
    assert found.refused == {}
    assert {case: reference.values for case, reference in found.usable.items()} == {"a": (0, 1, 3), "b": (0, 2)}
    assert tuple(found.usable["a"].grid.shape) == (6, 7, 8)


def test_the_old_numbering_of_brats_is_recognised_with_the_option_that_maps_it(make):
    cases = make("a", labels(1, 2, 4)), make("b", labels(1, 2)), make("c", labels(4))
    with pytest.raises(UsageError) as raised:
        check(*cases)
    assert str(raised.value) == (
        "References hold values that are no labels of the dataset (0, 1, 2, 3): a holds 4; c holds 4. That is how "
        "BraTS numbered until 2021, with 4 for the enhancing tumour, which is 3 here: add --map-labels 4=3."
    )
    assert set(check(*cases, label_map={4: 3}).usable) == {"a", "b", "c"}


def test_other_values_are_refused_with_case_and_values(make):
    with pytest.raises(UsageError, match=r"a holds 255\. Correct .* --map-labels 255=3"):
        check(make("a", labels(255)), make("b", labels(1)))
    with pytest.raises(UsageError, match=r"a holds 4\. Correct these references"):  # 3 is there too: not BraTS's habit
        check(make("a", labels(3, 4)))
    many = [make(f"case{index}", labels(*range(10, 18))) for index in range(7)]
    with pytest.raises(UsageError, match=r"case0 holds 10, 11, 12, 13, 14 and others; .*, and 2 more cases\. "):
        check(*many)


def test_a_mapping_to_no_label_or_of_no_value_is_refused(make):
    with pytest.raises(UsageError, match="--map-labels: the dataset has the labels 0, 1, 2, 3, and no 9"):
        check(make("a", labels(4)), label_map={4: 9})
    with pytest.raises(UsageError, match="no reference holds 5"):
        check(make("a", labels(4)), label_map={4: 3, 5: 1})


def test_what_is_no_label_map_of_the_case_costs_its_case_only(make, tmp_path):
    cases = [make(name, labels(1)) for name in ("colour", "fraction", "nan", "torn", "text", "gone", "good")]
    (tmp_path / "torn.nii.gz").write_bytes((tmp_path / "good.nii.gz").read_bytes()[:80])
    (tmp_path / "text.nii.gz").write_text("no image")
    (tmp_path / "gone.nii.gz").unlink()
    write(tmp_path / "colour.nii.gz", np.zeros((6, 7, 8, 3), np.uint8))
    write(tmp_path / "fraction.nii.gz", labels(0.5, dtype=np.float32))
    write(tmp_path / "nan.nii.gz", labels(np.nan, dtype=np.float32))
    cases += [
        make("shifted", labels(1), origin=(0.0, 0.0, 0.5)),
        make("spaced", labels(1), spacing=(1.0, 1.0, 1.2)),
        make("small", labels(1)[:5]),
    ]
    found = check(*cases)
    assert set(found.usable) == {"good"}
    assert set(found.refused) == {case.case for case in cases} - {"good"}
    assert all(why.startswith("its reference: ") for why in found.refused.values())
    assert "not whole numbers" in found.refused["fraction"]
    assert "not whole numbers" in found.refused["nan"]
    assert "voxels off the images' grid" in found.refused["shifted"]
    assert "(5, 7, 8)" in found.refused["small"]


def test_a_reference_within_the_tolerance_is_usable(make):
    assert set(check(make("a", labels(1), origin=(0.0, 0.0, 0.05))).usable) == {"a"}


def test_images_and_references_are_placed_by_the_transform_that_the_model_trusts(make):
    case = make("a", labels(1))
    for file, shift in ((case.files[0], 0.0), (case.reference, 5.0)):
        image = nibabel.load(file)
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        changed = nibabel.Nifti1Image(np.asarray(image.dataobj), affine)
        affine[0, 3] = 5.0 + shift
        changed.header.set_qform(affine, code=1)
        nibabel.save(changed, file)
    assert set(check(case, nifti_transform="sform").usable) == {"a"}
    assert "5 voxels off the images' grid" in check(case, nifti_transform="qform").refused["a"]
    assert check(case).usable["a"].grid is None  # the case is refused when it is to be predicted


def test_an_image_that_cannot_be_read_is_left_to_its_prediction(make):
    case = make("a", labels(1))
    case.files[0].write_text("no image")
    found = check(case)
    assert found.usable["a"].grid is None
    with pytest.raises(ValueError, match="SimpleITKIO cannot read the case's images"):
        read_labels(case.reference, "SimpleITKIO", found.usable["a"])


def write_tif(folder, *, spacing=None, of_reference=None):
    folder.mkdir()
    tifffile.imwrite(folder / "a_0000.tif", np.ones((6, 7, 8), np.float32))
    (folder / "labels").mkdir()
    tifffile.imwrite(folder / "labels" / "a.tif", labels(1))
    for place, value in ((folder, spacing), (folder / "labels", of_reference)):
        if value:
            (place / "a.json").write_text(json.dumps({"spacing": value}))
    return EvaluationCase("a", {0: folder / "a_0000.tif"}, folder / "labels" / "a.tif")


def test_the_spacing_of_3d_tiff_files_is_that_of_their_json(tmp_path):
    of = task("Tiff3DIO", ".tif")
    for name, of_reference in (("both", [3, 2, 1]), ("images only", None)):
        case = write_tif(tmp_path / name, spacing=[3, 2, 1], of_reference=of_reference)
        found = check(case, of=of)
        assert read_labels(case.reference, "Tiff3DIO", found.usable["a"]).spacing_mm == (3.0, 2.0, 1.0)
    other = write_tif(tmp_path / "other", spacing=[3, 2, 1], of_reference=[1, 1, 1])
    assert "voxels off the images' grid" in check(other, of=of).refused["a"]


def test_pictures_are_label_maps_of_two_dimensions(tmp_path):
    from skimage import io

    picture = np.zeros((10, 12), np.uint8)
    io.imsave(tmp_path / "a_0000.png", picture + 7, check_contrast=False)
    io.imsave(tmp_path / "a.png", picture + 1, check_contrast=False)
    io.imsave(tmp_path / "b.png", np.stack([picture] * 3, -1), check_contrast=False)
    good, colour = (EvaluationCase(name, {0: tmp_path / "a_0000.png"}, tmp_path / f"{name}.png") for name in "ab")
    of = task("NaturalImage2DIO", ".png")
    found = check(good, colour, of=of)
    read = read_labels(good.reference, "NaturalImage2DIO", found.usable["a"])
    assert read.labels.shape == (10, 12)
    assert read.spacing_mm == (1.0, 1.0)
    assert "3 channels, a label map has one" in found.refused["b"]
