"""What masked pretraining hides, what it asks for, and what it counts as explained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_missingmod.training.masking import draw_cubes, explained, reconstruction_loss, to_voxels


def draw(present, kept, patch=(16, 16), share=0.875, seed=0):
    return draw_cubes(
        np.array(present, dtype=bool),
        np.array(kept, dtype=bool),
        patch,
        masked_share=share,
        rng=np.random.default_rng(seed),
    )


@pytest.mark.parametrize(
    ("present", "kept", "share", "count"),
    [
        # Of 4 x 64 squares, 12.5 % are 32: whatever was dropped.
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.875, 32),
        ([1, 1, 1, 1], [0, 1, 0, 0], 0.875, 32),
        # A case with two modalities has 2 x 64.
        ([1, 1, 0, 0], [1, 1, 0, 0], 0.875, 16),
        # Not more than there is.
        ([1, 1, 1, 1], [0, 1, 0, 0], 0.0, 64),
        # Not nothing.
        ([1, 1, 1, 1], [0, 1, 0, 0], 0.999, 1),
    ],
)
def test_the_share_of_all_cubes_stays_in_what_was_kept(present, kept, share, count):
    visible = draw([present], [kept], share=share)
    assert visible.shape == (1, 4, 8, 8)
    assert visible.sum() == count
    assert not visible[0, ~np.array(kept, dtype=bool)].any()


def test_every_cube_of_every_kept_modality_has_the_same_chance_and_each_case_its_own_draw():
    kept = np.repeat([[1, 0, 1, 1]], 4000, axis=0)
    visible = draw(np.ones((4000, 4)), kept, patch=(8, 3))
    assert visible.shape == (4000, 4, 8, 3)
    chance = visible.mean(axis=0)[[0, 2, 3]]
    assert abs(chance - 12 / 72).max() < 0.03
    assert len(np.unique(visible.reshape(4000, -1), axis=0)) > 3900


@pytest.mark.parametrize("patch", [(16, 24), (9, 20, 33), (5, 128)])
def test_cubes_become_voxels_with_edges_as_equal_as_can_be(patch):
    grid = [min(8, size) for size in patch]
    cubes = torch.arange(int(np.prod(grid))).reshape(1, 1, *grid)
    voxels = to_voxels(cubes, patch)
    assert voxels.shape == (1, 1, *patch)
    for axis, (size, parts) in enumerate(zip(patch, grid, strict=True), start=2):
        along = voxels.movedim(axis, 0).flatten(1)[:, 0]
        assert (along.diff() >= 0).all()
        lengths = along.unique(return_counts=True)[1]
        assert len(lengths) == parts
        assert lengths.max() - lengths.min() <= 1
        assert lengths.sum() == size


def test_the_loss_is_the_formulas_and_ignores_what_is_absent():
    torch.manual_seed(0)
    output, images = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(2, 3, 4, 5)
    present = torch.tensor([[True, True, True], [False, True, False]])
    images[1, [0, 2]] = torch.nan
    expected = np.mean(
        [((output[b, j] - images[b, j]) ** 2).mean().item() for b, j in [(0, 0), (0, 1), (0, 2), (1, 1)]]
    )
    loss = reconstruction_loss(output, images, present)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert torch.isfinite(output.grad).all()
    assert not output.grad[1, [0, 2]].any()
    assert output.grad[1, 1].abs().min() > 0
    precise = output.detach().double().requires_grad_()
    loss = reconstruction_loss(precise, images.double(), present)
    (gradient,) = torch.autograd.grad(loss, precise)
    error = torch.where(present[..., None, None], precise.detach() - images.double(), 0.0)
    torch.testing.assert_close(gradient, 2 * error / (20 * 4), atol=1e-7, rtol=1e-5)
    assert reconstruction_loss(images.nan_to_num(7.0), images, present) == 0


def test_explained_variance_is_that_of_the_hidden_voxels():
    torch.manual_seed(0)
    images, hidden = torch.randn(4, 2, 30, 30) + 3, torch.rand(4, 2, 30, 30) < 0.6
    images[0, 1] = torch.nan
    hidden[0, 1] = False
    output = torch.where(hidden, images, torch.nan).nan_to_num() + 0.5 * torch.randn(4, 2, 30, 30)
    found, left = explained(output, images, hidden)
    for channel in range(2):
        mask = hidden[:, channel].numpy()
        wanted, given = images[:, channel].numpy()[mask], output[:, channel].numpy()[mask]
        r2 = 1 - ((given - wanted) ** 2).sum() / ((wanted - wanted.mean()) ** 2).sum()
        assert 0.6 < r2 < 0.9
        assert (found / (found + left))[channel].item() == pytest.approx(r2, abs=1e-4)
    # Worse than the mean explains nothing; what is visible has no influence.
    found, left = explained(torch.full_like(output, 40.0), images, hidden)
    assert not found.any()
    assert (left > 0).all()
    changed = torch.where(hidden, output, 1e4)
    torch.testing.assert_close(explained(changed, images, hidden), explained(output, images, hidden))
