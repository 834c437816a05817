"""Layers of the viewer: what names tell of modalities, what a file becomes, what the model is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from nnunet_missingmod.viewer.volumes import FILE_KEY, find_reader, given_of, guess_modality, place_problem

BRATS = ("FLAIR", "T1", "T1ce", "T2")


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("t1", "T1"),
        ("patient7_T1ce", "T1ce"),
        ("patient7_t1_ce", "T1ce"),
        ("BraTS-GLI-00000-000-t2f", "FLAIR"),
        ("BraTS-GLI-00000-000-t1n", "T1"),
        ("BraTS20_Training_001_flair", "FLAIR"),
        ("case_0002", "T1ce"),
        ("case_0009", None),
        ("ax t2w tse", "T2"),
        ("SE000004", None),
        ("t1 or t2", None),
        ("t1_ce_brain", "T1ce"),
        ("T1_Gd_registered", "T1ce"),
        ("p7_t1_post_bet", "T1ce"),
        ("t2_flair_bet", "FLAIR"),
        ("p7_t1_post_contrast_bet", "T1ce"),
        ("t1_bet_registered", "T1"),
        ("t1_axial_gd", None),
        ("t1_without_contrast", None),
        ("t1_t1ce", None),
        ("t1_flair", None),
        ("", None),
    ],
)
def test_names_speak_of_modalities(name: str, modality: str | None) -> None:
    assert guess_modality(name, BRATS) == modality


def test_other_models_modalities_are_found_by_their_own_names() -> None:
    assert guess_modality("p_dwi_b1000", ("ADC", "DWI b1000")) == "DWI b1000"
    assert guess_modality("liver-ct", ("CT", "MR")) == "CT"
    assert guess_modality("x_t1w", ("T2w", "T1w")) == "T1w"
    assert guess_modality("x_flair", ("T2w", "T1w")) is None
    assert guess_modality("t1_ce_brain", ("T2w", "T1w")) is None
    assert guess_modality("t2_flair_bet", ("T2w", "T1w")) is None
    assert guess_modality("x_t1", ("T1 early", "T1w", "T1")) == "T1"
    assert guess_modality("x_t1n", ("T1w", "T1")) is None
    assert guess_modality("anything", ()) is None
    # Siemens' names of a FLAIR
    for name in ("t2_tirm_dark-fluid", "p7_t2_tirm_tra_dark-fluid", "T2_SPACE_dark-fluid", "tirm_dark-fluid"):
        assert guess_modality(name, BRATS) in ("FLAIR", None)
    assert guess_modality("t2_tirm_dark-fluid", BRATS) == "FLAIR"
    assert guess_modality("t1_tirm_dark-fluid", BRATS) is None


def test_a_file_is_a_layer_with_its_size_and_is_given_as_the_file(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.float32).reshape(3, 4, 5))
    image.SetSpacing((1.0, 2.0, 3.0))
    file = tmp_path / "p.1_T1.nii.gz"
    sitk.WriteImage(image, str(file))
    read = find_reader(str(file))
    assert read is not None
    ((data, described, kind),) = read(str(file))
    assert (data.shape, described["name"], described["scale"], kind) == ((3, 4, 5), "p.1_T1", (3.0, 2.0, 1.0), "image")
    assert given_of(Layer("t1", data, described["scale"], metadata=described["metadata"])) == file
    changed = given_of(Layer("t1", data + 1, described["scale"], metadata=described["metadata"]))
    assert isinstance(changed, sitk.Image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(changed), data + 1)
    assert (changed.GetSpacing(), changed.GetOrigin()) == (image.GetSpacing(), image.GetOrigin())
    assert find_reader([str(file), "b.png"]) is None


@dataclass
class Layer:
    """What ``place_problem`` takes of a layer of napari; ``test_panel`` has real ones."""

    name: str
    data: npt.NDArray[Any] = field(default_factory=lambda: np.zeros((3, 4, 5)))
    scale: tuple[float, ...] = (3.0, 2.0, 1.0)
    translate: tuple[float, ...] = (0.0, 0.0, 0.0)
    turned: npt.NDArray[Any] = field(default_factory=lambda: np.eye(3))
    metadata: dict[str, str] = field(default_factory=dict)
    ndim: int = 3

    def data_to_world(self, position: npt.NDArray[Any]) -> tuple[float, ...]:
        return tuple(self.turned @ (position * np.array(self.scale)) + self.translate)


def test_an_array_is_given_with_the_spacing_that_is_shown() -> None:
    given = given_of(layer := Layer("t1", translate=(5.0, 6.0, 7.0)))
    assert isinstance(given, tuple)
    assert given[0] is layer.data
    assert given[1] == pytest.approx((3, 2, 1))
    # As other readers have it: the size of a voxel, its axes and a turn in the affine, no scale.
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, -1]])
    given = given_of(Layer("t1", scale=(1, 1, 1), turned=turn @ np.diag([3.0, 2.0, 0.5])))
    assert isinstance(given, tuple)
    assert given[1] == pytest.approx((3, 2, 0.5))


def test_layers_that_are_shown_at_different_places_are_named() -> None:
    t1, moved = Layer("t1"), Layer("t2", translate=(0.0, 30.0, 0.0))
    assert place_problem([t1]) is None
    assert place_problem([t1, Layer("t2")]) is None
    assert place_problem([t1, Layer("t2", translate=(0.0, 0.0, 0.09))]) is None
    problem = place_problem([t1, Layer("flair"), moved])
    assert problem is not None
    assert problem.startswith("The layers t1 and t2 lie differently (30 voxels apart), and modalities of one case lie")
    assert place_problem([moved, Layer("t1", translate=(0.0, 30.0, 0.0))]) is None
    for other in (Layer("t2", scale=(3.0, 2.0, 1.1)), Layer("t2", turned=np.diag([1, -1, 1]))):
        assert "t1 and t2 lie differently" in str(place_problem([t1, other]))


def test_of_files_and_of_other_shapes_the_model_tells() -> None:
    files = [Layer(name, metadata={FILE_KEY: f"{name}.nii.gz"}) for name in ("t1", "t2")]
    files[1].translate = (9.0, 9.0, 9.0)
    assert place_problem(files) is None
    assert "t2 and flair lie differently" in str(place_problem([files[1], Layer("flair")]))
    assert place_problem([Layer("t1"), Layer("t2", data=np.zeros((4, 5)), ndim=2)]) is None
