"""Grid of the phantom: what the user leaves out follows, what does not fit is refused."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from nnunet_missingmod.demo.grid import CROPPED_SHARE, DEFAULT_SIZE, FILL, HEAD_MM, Grid, resolve_grid


def _room(grid: Grid) -> list[float]:
    return [FILL * n * step for n, step in zip(grid.size, grid.spacing_mm, strict=True)]


def test_head_extent_is_the_templates() -> None:
    from nnunet_missingmod.demo.anatomy import load_template

    assert load_template().extent_mm == pytest.approx(HEAD_MM)


@pytest.mark.parametrize("size", [None, (24, 24, 24), (40, 48, 40), (80, 96, 80)])
def test_spacing_follows_from_the_size_so_that_the_head_just_fits(size: tuple[int, int, int] | None) -> None:
    grid = resolve_grid(size)
    assert grid.size == (size or DEFAULT_SIZE)
    slack = [room - head for room, head in zip(_room(grid), HEAD_MM, strict=True)]
    assert min(slack) >= 0
    assert min(slack) < 0.01 * FILL * max(grid.size)


@pytest.mark.parametrize("spacing", [2.0, (2, 3, 4), (4.0,)])
def test_size_follows_from_the_spacing_so_that_the_head_just_fits(spacing: float | tuple[float, ...]) -> None:
    grid = resolve_grid(spacing_mm=spacing)
    for room, head, step in zip(_room(grid), HEAD_MM, grid.spacing_mm, strict=True):
        assert head - 1e-3 <= room < head + step


def test_size_and_spacing_are_both_honoured_when_the_head_fits() -> None:
    grid = resolve_grid((80, 80, 80), 4)
    assert (grid.size, grid.spacing_mm) == ((80, 80, 80), (4.0, 4.0, 4.0))


def test_refused_spacing_names_one_that_is_accepted() -> None:
    with pytest.raises(ValueError, match=r"spacing of at least (4\.32) mm"):
        resolve_grid((40, 48, 40), 4.0)
    assert resolve_grid((40, 48, 40), 4.32).spacing_mm == (4.32,) * 3


@pytest.mark.parametrize("size", [None, (24, 24, 24), (41, 53, 37)])
def test_default_canvas_makes_nnunet_normalise_inside_the_brain(size: tuple[int, int, int] | None) -> None:
    grid = resolve_grid(size)
    assert prod(grid.size) < CROPPED_SHARE * prod(grid.canvas)


@pytest.mark.parametrize(
    ("size", "spacing", "canvas"),
    [
        ((40, 48), None, None),
        ((40, 48, 40.5), None, None),
        ((8, 8, 8), None, None),
        (None, 9.0, None),
        (None, -1.0, None),
        (None, (1, 2), None),
        (None, float("nan"), None),
        ((40, 48, 40), None, (40, 48, 40)),
        ((40, 48, 40), None, (39, 90, 90)),
    ],
)
def test_impossible_geometry_is_refused(size: object, spacing: object, canvas: object) -> None:
    with pytest.raises(ValueError):
        resolve_grid(size, spacing, canvas)  # type: ignore[arg-type]


def test_padding_centres_the_box_and_keeps_its_sum() -> None:
    grid = Grid(size=(24, 25, 26), spacing_mm=(1, 1, 1), canvas=(30, 30, 30))
    box = np.random.default_rng(0).random(grid.size)
    padded = grid.pad(box)
    assert padded.shape == grid.canvas
    assert np.array_equal(padded[3:27, 2:27, 2:28], box)
    assert padded.sum() == pytest.approx(box.sum())


def test_distances_match_a_plain_loop_on_anisotropic_voxels() -> None:
    grid = Grid(size=(4, 5, 6), spacing_mm=(1.0, 2.0, 0.5), canvas=(4, 5, 6))
    centre = (1, 3, 2)
    ball, offsets = grid.ball_mm(centre), grid.offsets_mm(centre)
    for index in np.ndindex(grid.size):
        way = [(i - c) * step for i, c, step in zip(index, centre, grid.spacing_mm, strict=True)]
        assert ball[index] == pytest.approx(np.linalg.norm(way), abs=1e-5)
        assert offsets[(slice(None), *index)] == pytest.approx(way, abs=1e-5)
