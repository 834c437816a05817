"""Windows of an image, and plans that give up width in place of the patch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
image_sizes = pytest.importorskip("image_sizes")


def test_windows_are_those_of_nnunets_predictor():
    assert image_sizes.windows((64, 64, 64), (64, 64, 64)) == 1
    assert image_sizes.windows((10, 64, 65), (64, 64, 64)) == 2
    assert image_sizes.windows((128, 64, 64), (64, 64, 64)) == 3


def test_narrow_plans_keep_the_patch_and_a_quarter_of_the_features():
    with image_sizes.dataset_without_images() as preprocessed:
        plans = image_sizes.make_plans(image_sizes.STOCK, preprocessed, memory_target_gb=0.02)
    narrow = image_sizes.quarter_as_wide(plans)
    (of, own) = (each["configurations"]["3d_fullres"] for each in (plans, narrow))
    assert own["patch_size"] == of["patch_size"]
    widths, narrower = (each["architecture"]["arch_kwargs"]["features_per_stage"] for each in (of, own))
    assert [4 * width for width in narrower] == list(widths)
    assert widths[0] == 32
