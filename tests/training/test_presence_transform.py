"""nnU-Net's real augmentation leaves absent channels absent and does not let them touch the present ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_missingmod import absence
from nnunet_missingmod.training.presence import PresencePreservingTransform


def host_augmentation(dims, *, is_cascaded=False):
    return nnUNetTrainer.get_training_transforms(
        patch_size=(12,) * dims,
        rotation_for_DA=(-0.5, 0.5),
        deep_supervision_scales=[[1.0] * dims, [0.5] * dims],
        mirror_axes=tuple(range(dims)),
        do_dummy_2d_data_aug=False,
        use_mask_for_norm=[True, False, True],
        is_cascaded=is_cascaded,
        foreground_labels=[1, 2],
    )


def sample(present, dims, *, outside=False, is_cascaded=False):
    image = torch.randn(3, *[16] * dims)
    absence.mark(image[None], torch.tensor([present]))
    segmentation = torch.randint(-1, 3, (1, *[16] * dims), dtype=torch.int16)
    if outside:
        segmentation[:] = -1
    if is_cascaded:
        segmentation = torch.cat([segmentation, torch.randint(0, 3, segmentation.shape, dtype=torch.int16)])
    return {"image": image, "segmentation": segmentation}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.booleans(), min_size=3, max_size=3).filter(any),
    st.sampled_from([2, 3]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_presence_survives_augmentation(present, dims, outside, is_cascaded, seed):
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the host's transforms draw from the global generator
    transform = PresencePreservingTransform(host_augmentation(dims, is_cascaded=is_cascaded))
    image = transform(**sample(present, dims, outside=outside, is_cascaded=is_cascaded))["image"]
    assert torch.isnan(image[:3]).flatten(1).all(1).tolist() == [not there for there in present]
    assert torch.isfinite(image[:3][present]).all()
    assert torch.isfinite(image[3:]).all()
    assert len(image) == (5 if is_cascaded else 3)


@pytest.mark.parametrize("dims", [2, 3])
def test_complete_samples_come_out_as_from_the_host_alone(dims):
    augmentation = host_augmentation(dims)  # one alone: its blur times two ways of convolving, and keeps the faster
    outputs = []
    for transform in (augmentation, PresencePreservingTransform(augmentation)):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - the host's transforms draw from the global generator
        outputs.append(transform(**sample([True] * 3, dims)))
    assert torch.equal(outputs[0]["image"], outputs[1]["image"])
    assert all(map(torch.equal, outputs[0]["segmentation"], outputs[1]["segmentation"]))
