"""Shares of a window's time by kind of operation, and of the last layers in its multiplications."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
window_profile = pytest.importorskip("window_profile")


def test_operations_are_counted_by_their_kind():
    seconds = {
        "aten::mkldnn_convolution": 3.0,
        "aten::conv_transpose3d": 1.0,
        "aten::native_batch_norm": 2.0,
        "aten::leaky_relu_": 1.0,
        "aten::cat": 0.5,
        "aten::copy_": 0.5,
    }
    assert window_profile.shares(seconds) == {
        "convolution": 0.5,
        "normalisation": 0.25,
        "activation": 0.125,
        "joining": 0.0625,
        "the rest": 0.0625,
    }


def test_the_last_layers_have_their_share_of_the_multiplications():
    network = nn.Sequential()
    network.add_module("first", nn.Conv3d(4, 6, 3, padding=1))
    network.add_module("seg_layers", nn.ModuleList([nn.Conv3d(6, 3, 1)]))
    network.forward = lambda x: network.seg_layers[0](network.first(x))
    of_voxel, share = window_profile.multiplications(network, [8, 8, 8], torch.device("cpu"))
    assert of_voxel == 6 * 3 + 4 * 6 * 27
    assert share == pytest.approx(6 * 3 / (6 * 3 + 4 * 6 * 27))


def test_every_network_has_a_row():
    lines = window_profile.table(torch.device("cpu"), memory_target_gb=0.06, windows=1)
    rows = [line.strip("| ").split(" | ") for line in lines[4:]]
    assert [row[0] for row in rows] == list(window_profile.NETWORKS)
    for row in rows:
        assert sum(float(cell.rstrip("%")) for cell in row[1:6]) == pytest.approx(100, abs=3)
    assert rows[0][6:8] == ["1.00", "1.00"]
