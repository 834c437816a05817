"""Pictures of colour images, and of files that only the dataset's own reader can read."""

from __future__ import annotations

import matplotlib.image
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_missingmod.evaluation.report import qualitative
from nnunet_missingmod.evaluation.report.qualitative import QualitativeCase, SimpleITKReader, qualitative_grid

REGIONS = {"cell": (1, 2), "core": (2,)}
LABELS = np.zeros((40, 50), np.uint8)
LABELS[10:20, 15:30] = 1
LABELS[12:16, 18:24] = 2
COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


def write(path, array, *, is_colour=False):
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=is_colour), str(path))
    return path


def colour_case(folder, *, channels=3, ending=".png"):
    """A picture whose left half is red and whose right half is blue; black where nothing is."""
    picture = np.zeros((40, 50, channels), np.uint8)
    picture[4:36, 4:25, :3] = COLOURS["red"]
    picture[4:36, 25:46, :3] = COLOURS["blue"]
    picture[..., 3:] = 255
    return QualitativeCase(
        "photo",
        write(folder / f"photo_0000{ending}", picture, is_colour=True),
        write(folder / f"photo{ending}", LABELS),
        {("m", "R+G+B"): write(folder / f"prediction{ending}", LABELS)},
    )


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("reader", [NaturalImage2DIO(), SimpleITKReader(), None])
def test_a_colour_picture_is_shown_in_its_colours(tmp_path, channels, reader):
    case = colour_case(tmp_path, channels=channels)
    files = None if reader is None else qualitative._Files(reader, {})
    view = qualitative._View.of(case, (1, 2), files)
    assert view.picture.shape[-1] == 3
    height, width = view.picture.shape[:2]
    red, blue = view.picture[height // 2, width // 4], view.picture[height // 2, 3 * width // 4]
    assert (np.argmax(red), np.argmax(blue)) == (0, 2)
    assert red[0] > 0.9 > 0.1 > red[2]
    path = tmp_path / "grid.png"
    qualitative_grid([case], path, models=["m"], subsets=["R+G+B"], regions=REGIONS, reader=reader)
    drawn = matplotlib.image.imread(path)[..., :3]
    reddish = (drawn[..., 0] > drawn[..., 1] + 0.3) & (drawn[..., 0] > drawn[..., 2] + 0.3)
    assert reddish.mean() > 0.05


def test_new_labels_are_replaced_in_the_reference_and_not_in_predictions(tmp_path, monkeypatch):
    case = colour_case(tmp_path)
    write(tmp_path / "photo.png", np.where(LABELS == 2, 4, LABELS).astype(np.uint8))
    figures = []
    monkeypatch.setattr(qualitative, "save_png", lambda figure, path: figures.append(figure))
    common = {"models": ["m"], "subsets": ["R+G+B"], "regions": REGIONS}
    qualitative_grid([case], tmp_path / "q.png", **common)
    qualitative_grid([case], tmp_path / "q.png", **common, new_labels={4: 2})
    before, after = ([axes.get_xlabel() for axes in figure.axes][1] for figure in figures)
    assert before != after == "cell 100   core 100"


@pytest.mark.parametrize("reader", [SimpleITKIO(), NibabelIO(), NibabelIOWithReorient(), SimpleITKReader()])
def test_every_reader_shows_a_case_the_same_way_round(tmp_path, write_volume, reader):
    rng = np.random.default_rng(0)
    image = rng.uniform(10, 100, (6, 20, 24)).astype(np.float32)
    labels = np.zeros(image.shape, np.uint8)
    labels[4, 5:12, 8:14] = 1
    flipped = (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)
    case = QualitativeCase(
        "c", write_volume("i.nii.gz", image, direction=flipped), write_volume("r.nii.gz", labels, direction=flipped), {}
    )
    view = qualitative._View.of(case, (1,), qualitative._Files(reader, {}))
    assert view.index == 4
    np.testing.assert_array_equal(view.reference[4], labels[4, ::-1, ::-1])


def test_a_header_that_only_the_datasets_reader_takes_is_shown(tmp_path):
    sheared = np.array([[1.0, 0.3, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])

    def write_nifti(name, array):
        image = nibabel.Nifti1Image(array, None)
        image.set_sform(sheared, code=1)
        image.set_qform(None, code=0)
        nibabel.save(image, tmp_path / name)
        return tmp_path / name

    labels = np.zeros((10, 12, 6), np.uint8)
    labels[3:6, 3:8, 2] = 1
    case = QualitativeCase(
        "c",
        write_nifti("i.nii.gz", np.arange(720, dtype=np.float32).reshape(10, 12, 6)),
        write_nifti("r.nii.gz", labels),
        {},
    )
    with pytest.raises(ValueError, match="cannot be read"):
        qualitative._View.of(case, (1,))
    assert qualitative._View.of(case, (1,), qualitative._Files(NibabelIO(), {})).index == 2


def test_a_label_map_in_colour_is_refused_by_name(tmp_path):
    case = colour_case(tmp_path)
    wrong = QualitativeCase("photo", case.image, case.image, {})
    with pytest.raises(ValueError, match=r"photo_0000\.png holds 3 channels, a label map has one"):
        qualitative_grid([wrong], tmp_path / "q.png", models=["m"], subsets=["R"], regions=REGIONS)


def test_names_of_any_length_and_kind_fit(tmp_path):
    case = colour_case(tmp_path)
    subset = "+".join(f"$series_{channel}$" for channel in range(30))
    named = QualitativeCase("c$1$" * 30, case.image, case.reference, {("_m" * 60, subset): case.reference})
    regions = {f"_region $x_{index}$ " + "y" * 60: (1, 2) for index in range(9)}
    qualitative_grid([named], tmp_path / "q.png", models=["_m" * 60, "b"], subsets=[subset], regions=regions)
    assert (tmp_path / "q.png").exists()
