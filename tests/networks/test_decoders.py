"""Decoders beside the network's own are built as nnU-Net builds that one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from nnunet_missingmod.networks.decoders import design_of


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_one_at_full_resolution_has_the_parameters_of_the_networks_own(
    backbone: Callable[..., Any], dimensions: int, kind: str
) -> None:
    network = backbone(2, kind=kind, dimensions=dimensions)
    decoder = design_of(network.decoder, network.encoder, network.encoder.output_channels).build()
    own = {name: value.shape for name, value in network.decoder.state_dict().items() if not name.startswith("encoder")}
    ours = {name.replace("seg_layers.0", "seg_layers.1"): value.shape for name, value in decoder.state_dict().items()}
    assert ours == {name: shape for name, shape in own.items() if not name.startswith("seg_layers.0")}
    skips = network.encoder(torch.randn(1, 2, *[8] * dimensions))
    decoder.load_state_dict({name.replace("seg_layers.1", "seg_layers.0"): network.decoder.state_dict()[name]
                             for name in own if not name.startswith("seg_layers.0")})  # fmt: skip
    torch.testing.assert_close(decoder(skips), network.decoder(skips))


def test_one_that_ends_lower_takes_the_levels_from_there(backbone: Callable[..., Any]) -> None:
    network = backbone(2)
    design = design_of(network.decoder, network.encoder, network.encoder.output_channels)
    skips = network.encoder(torch.randn(1, 2, 16, 16))
    lower = design.build(level=1, num_outputs=7)
    assert lower(skips[1:]).shape == (1, 7, 8, 8)
    assert all(parameter.requires_grad for parameter in lower.parameters())
    lower(skips[1:]).sum().backward()
    assert all(parameter.grad is not None for parameter in lower.parameters())
    for level in (-1, 2):
        with pytest.raises(ValueError, match=f"levels 0 to 1 of this network, got {level}"):
            design.build(level=level)
