"""Forward passes of the scripts that call networks themselves run in the precision in which nnU-Net runs them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
image_sizes = pytest.importorskip("image_sizes")
slim_encoders = pytest.importorskip("slim_encoders")
variants = pytest.importorskip("variants")

CPU = torch.device("cpu")
dtypes: list[torch.dtype] = []  # of all outputs, also of a copy of the network


class Network(nn.Module):
    """Notes in which precision its convolution computes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(4, 2, 1)
        self.decoder = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = self.conv(x)
        dtypes.append(output.dtype)
        return output


@pytest.fixture(autouse=True)
def half_on_a_cpu(monkeypatch) -> None:
    dtypes.clear()
    for script in (image_sizes, slim_encoders, variants):
        monkeypatch.setattr(script, "mixed_precision", lambda device: torch.autocast(device.type, torch.bfloat16))


def test_a_window_is_predicted_in_half_precision():
    image_sizes.one_window(Network(), (4, 4, 4), CPU)()
    assert dtypes == [torch.bfloat16]


def test_a_patch_is_predicted_in_half_precision_and_not_compiled(monkeypatch):
    monkeypatch.setattr(variants, "make_batch", lambda trainer: {"data": torch.zeros(2, 4, 4, 4, 4)})
    run = variants._patch(SimpleNamespace(network=torch.compile(Network(), backend=compiles), device=CPU))
    run()
    assert dtypes == [torch.bfloat16]


def compiles(*_graph: object) -> None:
    raise AssertionError("compiled")


def test_a_level_of_an_encoder_runs_in_half_precision():
    slim_encoders.steps([Network()], [torch.zeros(1, 4, 4, 4, 4)])()
    assert dtypes == [torch.bfloat16]
