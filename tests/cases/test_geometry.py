"""How far apart two images place the same voxel."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.cases import geometry


def sitk_properties(spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=(1.0, 0, 0, 0, 1, 0, 0, 0, 1)):
    stuff = {"spacing": spacing, "origin": origin, "direction": direction}
    return {"sitk_stuff": stuff, "spacing": list(spacing)[::-1]}


def test_distance_is_the_largest_over_the_corners_in_voxels():
    one = {
        "sitk_stuff": {"spacing": (2, 2, 4), "origin": (0, 0, 0), "direction": np.eye(3).ravel()},
        "spacing": [4, 2, 2],
    }
    other = {**one, "sitk_stuff": {**one["sitk_stuff"], "spacing": (2, 2, 4.1)}}
    # The far corner of 11 slices lies 10 * 0.1 mm off; the smallest voxel extent is 2 mm.
    assert geometry.distance_voxels((11, 5, 5), one, other) == pytest.approx(0.5)
    flat = {
        "sitk_stuff": {"spacing": (2, 2), "origin": (0, 0), "direction": np.eye(2).ravel()},
        "spacing": [1998, 2, 2],
    }
    assert geometry.distance_voxels((1, 5, 5), one, flat) == np.inf


def test_distance_without_a_position_in_space_compares_spacings():
    assert geometry.distance_voxels((10, 5, 5), {"spacing": (1, 1, 1)}, {"spacing": (1, 1, 1)}) == 0
    assert geometry.distance_voxels((10, 5, 5), {"spacing": (1, 1, 1)}, {"spacing": (1.1, 1, 1)}) == pytest.approx(1)


def test_distance_of_affines_is_that_of_the_corners():
    one = {"nibabel_stuff": {"original_affine": np.diag([2.0, 2, 2, 1])}, "spacing": [2, 2, 2]}
    shifted = np.diag([2.0, 2, 2, 1])
    shifted[:3, 3] = (0, 3, 4)
    other = {"nibabel_stuff": {"original_affine": shifted}, "spacing": [2, 2, 2]}
    assert geometry.distance_voxels((5, 5, 5), one, other) == pytest.approx(5 / 2)
    assert geometry.distance_voxels((5, 5, 5), one, one) == 0


def test_description_holds_shape_spacing_and_position():
    sitk_stuff = {"spacing": (1, 2, 3), "origin": (4, 5, 6), "direction": np.eye(3).ravel()}
    described = geometry.describe((7, 8, 9), {"spacing": [3, 2, 1], "sitk_stuff": sitk_stuff})
    assert described.startswith("shape (7, 8, 9), spacing (3.0, 2.0, 1.0), origin (4.0, 5.0, 6.0), direction (1.0,")
    assert geometry.describe((1, 8, 9), {"spacing": (999, 1, 1)}) == "shape (1, 8, 9), spacing (999.0, 1.0, 1.0)"


def test_geometry_of_an_image_is_accepted():
    geometry.check(sitk_properties(spacing=(0.5, 1.0, 5.0), origin=(-100.0, 3.0, 0.0)))
    geometry.check({"spacing": (999, 1, 1)})
    affine = np.diag([-0.5, 1.0, 5.0, 1.0])
    geometry.check({"spacing": [5.0, 1.0, 0.5], "nibabel_stuff": {"original_affine": affine}})
    affine[:3, :3] *= 1.3  # into a template's space
    geometry.check({"spacing": [5.0, 1.0, 0.5], "nibabel_stuff": {"original_affine": affine}})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"spacing": (0.0, 1.0, 1.0)}, "its spacing"),
        ({"spacing": (float("inf"), 1.0, 1.0)}, "its spacing"),
        ({"spacing": (1e-30, 1.0, 1.0)}, "its spacing"),
        ({"spacing": (1e30, 1.0, 1.0)}, "its spacing"),
        ({"origin": (0.0, float("nan"), 0.0)}, "position in space is not finite"),
        ({"direction": (1.0, 0, 0, float("inf"), 1, 0, 0, 0, 1)}, "position in space is not finite"),
        ({"direction": (1.0, 0, 0, 1, 0, 0, 0, 0, 1)}, "contradicts its axes"),
        ({"direction": (1.0, 1, 0, 0, 0.01, 0, 0, 0, 1)}, "axes .* degenerate"),
    ],
)
def test_geometry_of_no_image_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        geometry.check(sitk_properties(**changed))


def test_spacing_far_from_the_affines_is_refused():
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="contradicts its axes"):
        geometry.check({"spacing": [1.0, 1.0, 5.0], "nibabel_stuff": {"original_affine": affine}})


def test_more_than_three_dimensions_are_no_volume():
    assert geometry.is_volume(sitk_properties())
    assert geometry.is_volume({"spacing": (999, 1, 1), "sitk_stuff": {"spacing": (1, 1)}})
    assert not geometry.is_volume({"spacing": (1, 1, 1), "sitk_stuff": {"spacing": (1, 1, 1, 1)}})
    assert not geometry.is_volume({"spacing": (1, 1), "sitk_stuff": {"spacing": (1, 1, 1)}})
