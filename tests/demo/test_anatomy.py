"""Anatomy: the template's derived maps, the pose, the tissue fractions."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.demo.anatomy import (
    Pose,
    build_anatomy,
    largest_part,
    load_template,
    rotation_matrix,
    sample_pose,
    sample_template,
)
from nnunet_missingmod.demo.grid import resolve_grid

GRID = resolve_grid((32, 36, 32))


def test_derived_template_maps_lie_where_they_belong() -> None:
    template = load_template()
    maps = template.maps
    assert all(m.min() >= 0 and m.max() <= 1 for m in maps.values())
    litres = {name: float(m.sum()) * template.spacing_mm**3 / 1e6 for name, m in maps.items()}
    assert 1.3 < litres["mask"] < 2.2
    assert 0.01 < litres["ventricles"] < 0.05
    assert 0.02 < litres["deep_grey"] < 0.5 * litres["grey"]
    # Ventricles lie near the midline, within the brain.
    x = template.origin_mm[0] + template.spacing_mm * np.argwhere(maps["ventricles"] > 0.5)[:, 0]
    assert abs(x.mean()) < 2
    assert np.abs(x).max() < 45


def test_template_is_sampled_exactly_at_its_own_voxels() -> None:
    template = load_template()
    voxel = np.array([40, 50, 45])
    position = (template.origin_mm + template.spacing_mm * voxel).reshape(3, 1, 1, 1).astype(np.float32)
    sampled = sample_template(("grey", "white", "mask"), position)
    for name, value in sampled.items():
        assert value.item() == pytest.approx(template.maps[name][tuple(voxel)], abs=1e-5)


def test_rotation_matrix_is_orthonormal_and_turns_x_to_y_about_z() -> None:
    turn = rotation_matrix(np.array([0.3, -0.8, 1.1]))
    assert turn @ turn.T == pytest.approx(np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)
    assert rotation_matrix(np.array([0, 0, np.pi / 2])) @ [1, 0, 0] == pytest.approx([0, 1, 0])


def test_identity_pose_maps_the_box_centre_to_the_template_centre() -> None:
    template = load_template()
    identity = Pose(np.eye(3, dtype=np.float32), np.zeros(3, np.float32), np.zeros((3, 1, 1, 1), np.float32))
    centre = identity.to_template_mm(np.zeros((3, 1, 1, 1), np.float32), template)
    assert centre.ravel() == pytest.approx(template.centre_mm)


def test_tissue_fractions_sum_to_one_and_the_brain_is_one_part() -> None:
    rng = np.random.default_rng(0)
    position = sample_pose(rng, GRID).to_template_mm(GRID.points_mm(), load_template())
    anatomy = build_anatomy(rng, GRID, template_mm=position, displaced_template_mm=position)
    assert (anatomy.fluid + anatomy.grey + anatomy.white) == pytest.approx(np.ones(GRID.size), abs=1e-5)
    assert (anatomy.deep_grey <= anatomy.grey).all()
    assert np.array_equal(largest_part(anatomy.brain), anatomy.brain)
    litres = anatomy.brain.sum() * np.prod(GRID.spacing_mm) / 1e6
    assert 1.2 < litres < 2.4


def test_largest_part_keeps_the_larger_of_two_and_an_empty_mask() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[0, 0, 0] = True
    assert np.array_equal(largest_part(mask), mask)
    mask[3:, 3:, 3:] = True
    assert largest_part(mask).sum() == 8
    assert not largest_part(np.zeros((3, 3, 3), bool)).any()
