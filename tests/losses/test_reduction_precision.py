"""Losses compute in float32 or wider."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_missingmod.losses.reduction import at_least_float32, autocast_like, autocast_off


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.bool, torch.int64])
def test_narrow_values_become_float32(dtype: torch.dtype) -> None:
    assert at_least_float32(torch.ones(2, dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wide_values_are_not_copied(dtype: torch.dtype) -> None:
    values = torch.ones(2, dtype=dtype)
    assert at_least_float32(values) is values


def test_autocast_off_wins_over_an_outer_autocast() -> None:
    values = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (values @ values).dtype == torch.bfloat16
        with autocast_off(values):
            assert (values @ values).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_float32_layer_takes_features_of_any_precision(dtype: torch.dtype) -> None:
    features = torch.ones(1, 2, dtype=dtype)
    with autocast_like(features):
        assert nn.Linear(2, 3)(features).dtype == dtype
