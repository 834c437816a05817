"""A lattice of voxels: an unbiased sample of a feature, the same for all that are compared."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from nnunet_missingmod.losses.mutual_information import SHORT_AXIS, draw_lattice, on_lattice


def test_short_axes_are_taken_whole():
    for size in ((8, 4), (8, 8, 1)):
        feature = torch.randn(2, 3, *size)
        assert torch.equal(on_lattice(feature, draw_lattice(size, np.random.default_rng(0))), feature)


@pytest.mark.parametrize("size", [(16, 12), (10, 16, 12), (9, 4, 11)])
def test_a_lattice_is_every_other_voxel_of_long_axes_from_a_random_start(size):
    rng = np.random.default_rng(0)
    seen = set()
    index = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij")).unsqueeze(0)  # (1, axes, *size)
    for _ in range(64):
        kept = on_lattice(index, draw_lattice(size, rng))
        starts = kept.flatten(2)[0, :, 0].tolist()
        for axis, (length, start) in enumerate(zip(size, starts, strict=True)):
            expected = range(length) if length <= SHORT_AXIS else range(start, length, 2)
            assert kept[0, axis].unique().tolist() == list(expected)
        seen.add(tuple(starts))
    choices = [(0,) if length <= SHORT_AXIS else (0, 1) for length in size]
    assert seen == set(itertools.product(*choices))


def test_the_mean_over_all_lattices_is_the_mean_over_all_voxels():
    feature = torch.randn(1, 2, 12, 10, dtype=torch.float64)
    means = [
        on_lattice(feature, (slice(x, None, 2), slice(y, None, 2))).mean((2, 3)) for x in range(2) for y in range(2)
    ]
    torch.testing.assert_close(torch.stack(means).mean(0), feature.mean((2, 3)))


def test_only_the_lattices_voxels_get_a_gradient():
    feature = torch.randn(1, 1, 10, 10, requires_grad=True)
    lattice = draw_lattice((10, 10), np.random.default_rng(0))
    on_lattice(feature, lattice).sum().backward()
    expected = torch.zeros_like(feature)
    on_lattice(expected, lattice).fill_(1)
    assert torch.equal(feature.grad, expected)
