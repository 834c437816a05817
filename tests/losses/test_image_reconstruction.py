"""The error of reconstructed images over what the samples have."""

from __future__ import annotations

import torch

from nnunet_missingmod.losses.image_reconstruction import image_reconstruction_loss

ENCODED = torch.tensor([[True, False, True], [True, False, False]])


def test_it_is_the_mean_squared_error_of_the_images_that_are_there() -> None:
    made, images = torch.randn(2, 2, 3, 4, 5)
    expected = torch.cat([(made - images)[0, [0, 2]].flatten(), (made - images)[1, 0].flatten()]).square().mean()
    torch.testing.assert_close(image_reconstruction_loss(made, images, ENCODED), expected)


def test_images_that_a_sample_lacks_do_not_matter() -> None:
    made, images = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(2, 3, 4, 5)
    other = torch.where(ENCODED[..., None, None], images, torch.nan)
    loss = image_reconstruction_loss(made, images, ENCODED)
    assert torch.equal(loss, image_reconstruction_loss(made, other, ENCODED))
    loss.backward()
    assert (made.grad[~ENCODED] == 0).all()


def test_nothing_to_reconstruct_is_zero_with_a_graph() -> None:
    made = torch.randn(2, 3, 4, 5, requires_grad=True)
    loss = image_reconstruction_loss(made, torch.randn(2, 3, 4, 5), torch.zeros_like(ENCODED))
    assert loss == 0
    loss.backward()


def test_its_gradient_is_that_of_finite_differences() -> None:
    made = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    images = torch.randn(2, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda made: image_reconstruction_loss(made, images, ENCODED), made)
