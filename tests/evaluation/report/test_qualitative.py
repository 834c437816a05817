from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from nnunet_missingmod.evaluation.report import qualitative
from nnunet_missingmod.evaluation.report.qualitative import QualitativeCase, qualitative_grid

REGIONS = {"WT": (1, 2, 3), "ET": (3,)}
SUBSETS = ("FLAIR", "FLAIR+T1")
SHAPE = (6, 20, 24)


@pytest.fixture
def make_case(write_volume):
    def make(name="c1", models=("ours",), subsets=SUBSETS, best=4, prediction=None, direction=None):
        image = np.zeros(SHAPE, np.float32)
        image[:, 2:-2, 2:-2] = np.random.default_rng(0).uniform(10, 100, (6, 16, 20))
        reference = np.zeros(SHAPE, np.uint8)
        reference[1, 5:7, 5:7] = 1
        reference[best, 5:12, 5:12] = 2
        reference[best, 7:9, 7:9] = 3
        predicted = reference if prediction is None else prediction
        return QualitativeCase(
            name,
            write_volume(f"{name}/image.nii.gz", image, direction=direction),
            write_volume(f"{name}/reference.nii.gz", reference, direction=direction),
            {
                (model, subset): write_volume(f"{name}/{model}_{subset}.nii.gz", predicted, direction=direction)
                for model in models
                for subset in subsets
            },
        )

    return make


def captions_of(monkeypatch, draw):
    """Return the captions under the panels of the figure that ``draw`` makes."""
    figures = []
    monkeypatch.setattr(qualitative, "save_png", lambda figure, path: figures.append(figure))
    draw()
    return [axes.get_xlabel() for axes in figures[0].axes]


def test_the_slice_with_the_largest_reference_is_shown(make_case):
    view = qualitative._View.of(make_case(best=4), (1, 2, 3))
    assert view.index == 4


def test_a_case_without_reference_shows_its_middle_slice(write_volume):
    image = write_volume("i.nii.gz", np.ones(SHAPE, np.float32))
    empty = write_volume("r.nii.gz", np.zeros(SHAPE, np.uint8))
    assert qualitative._View.of(QualitativeCase("c", image, empty, {}), (1,)).index == 3


def test_a_case_stored_the_other_way_round_is_shown_the_same_way(make_case):
    flipped = (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)
    view = qualitative._View.of(make_case(), (1, 2, 3))
    turned = qualitative._View.of(make_case(name="c2", direction=flipped), (1, 2, 3))
    np.testing.assert_allclose(turned.picture, view.picture[::-1, ::-1])


def test_the_window_holds_everything_inside_and_is_square_away_from_the_border():
    inside = np.zeros((60, 80), bool)
    inside[20:30, 30:50] = True
    rows, columns = qualitative._square_window(inside)
    assert inside[rows, columns].sum() == inside.sum()
    assert rows.stop - rows.start == columns.stop - columns.start < 30


def test_dice_of_the_whole_case_stands_under_each_prediction(make_case, monkeypatch, tmp_path):
    prediction = np.zeros(SHAPE, np.uint8)
    prediction[4, 5:12, 5:12] = 2  # 49 of the 53 voxels of WT, none of ET
    case = make_case(prediction=prediction)
    captions = captions_of(
        monkeypatch,
        lambda: qualitative_grid([case], tmp_path / "q.png", models=["ours"], subsets=SUBSETS, regions=REGIONS),
    )
    assert captions == ["", *[f"WT {round(100 * 2 * 49 / (49 + 53))}   ET 0"] * 2]


def test_a_grid_has_a_row_per_case_and_model_and_marks_what_is_missing(make_case, tmp_path):
    cases = [make_case("c1", models=("ours", "theirs")), make_case("c2", models=("ours",))]
    path = tmp_path / "out" / "q.png"
    qualitative_grid(cases, path, models=["ours", "theirs"], subsets=SUBSETS, regions=REGIONS)
    assert list(path.parent.iterdir()) == [path]
    height, width = matplotlib.image.imread(path).shape[:2]
    assert width == 2000
    # Four rows of square panels, three to a row.
    assert height > 4 * width / 3 * 0.9


def test_two_dimensional_images_are_drawn(write_volume, tmp_path):
    labels = np.zeros((12, 14), np.uint8)
    labels[3:6, 3:6] = 3

    def write(name, array):
        return write_volume(name, array, spacing_mm=(1.0, 1.0))

    case = QualitativeCase(
        "c",
        write("i.nii.gz", labels.astype(np.float32)),
        write("r.nii.gz", labels),
        {("m", "A"): write("p.nii.gz", labels)},
    )
    qualitative_grid([case], tmp_path / "q.png", models=["m"], subsets=["A"], regions=REGIONS)
    assert (tmp_path / "q.png").exists()


def test_files_that_do_not_fit_are_refused_with_the_case(make_case, write_volume, tmp_path):
    case = make_case(prediction=np.zeros((6, 20, 20), np.uint8))
    with pytest.raises(ValueError, match=r"c1: .*\(6, 20, 20\)"):
        qualitative_grid([case], tmp_path / "q.png", models=["ours"], subsets=SUBSETS, regions=REGIONS)
    with pytest.raises(ValueError, match="1, 0 and 2"):
        qualitative_grid([case], tmp_path / "q.png", models=[], subsets=SUBSETS, regions=REGIONS)
    assert not (tmp_path / "q.png").exists()
