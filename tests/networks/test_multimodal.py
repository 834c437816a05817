"""Rules that the early and the parallel network share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from renumbering import renumbered
from torch import distributed, nn

from nnunet_missingmod.networks.backbone import Features
from nnunet_missingmod.networks.bottleneck import build_bottleneck
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.multimodal import MultimodalNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork
from nnunet_missingmod.networks.substitution import SubstitutingEncoder, replace_first_convolution, slot_width

MODALITIES = 3
EXTRA = 2
ORDER = [[1, 2], [2, 0], [1, 0]]  # whose features stand in for a modality's
PRESENT = torch.tensor([[True, False, True], [False, True, False]])
NETWORKS = [
    "early",
    "early conditioned",
    "early conditioned convolutions",
    "parallel",
    "shared mean",
    "shared attention",
    "shared moments",
    "separate mean",
    "separate concatenate",
    "separate gated",
    "slim concatenate",
    "slim moments",
    "slim concatenate conditioned",
    "shared attention tokens",
    "separate concatenate tokens",
    "slim concatenate reconstruction",
    "shared_specific concatenate",
    "shared_specific concatenate conditioned",
    "separate region_aware",
    "separate gaussian_product",
]

# Every channel encoder before those of each kind, and the shared one before the others.
OF_EACH_KIND = ("early", "early conditioned", "parallel", "shared mean", "separate concatenate")
WITH_ENCODERS = [
    (name, encoder)
    for name in NETWORKS
    for encoder in (("none", "separate", "shared") if name in OF_EACH_KIND else ("shared",))
]

Build = Callable[..., MultimodalNetwork]


@pytest.fixture
def build(backbone: Callable[..., Any]) -> Build:
    def build_network(
        name: str, *, encoder: str = "shared", dimensions: int = 2, kind: str = "plain", deep_supervision: bool = False
    ) -> MultimodalNetwork:
        conv_op = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        fill = "learned" if name.startswith("early") else "zero"
        if name == "early substituting":
            inner = backbone(MODALITIES + EXTRA, kind=kind, dimensions=dimensions, deep_supervision=deep_supervision)
            order = None if encoder == "learned" else ORDER
            width = slot_width(inner.encoder, MODALITIES)
            substituting = SubstitutingEncoder(MODALITIES, width=width, conv_op=conv_op, order=order)
            replace_first_convolution(inner.encoder, substituting, EXTRA)
            return randomised(EarlyFusionNetwork(substituting, inner))
        channels = ChannelEncoder(MODALITIES, encoder, conv_op=conv_op, absent_fill=fill)
        early = name.startswith("early")
        inputs = channels.out_channels * (MODALITIES if early else 1) + EXTRA
        inner = backbone(inputs, kind=kind, dimensions=dimensions, deep_supervision=deep_supervision)
        network: MultimodalNetwork
        if early:
            network = EarlyFusionNetwork(
                channels,
                inner,
                presence_conditioning="conditioned" in name,
                presence_convolutions="convolutions" in name,
            )
        elif name == "parallel":
            network = ParallelNetwork(channels, inner)
        else:
            kind_of_encoders, fusion = name.split()[:2]
            attention = None
            if name.endswith(("tokens", "reconstruction")):
                # Positions of another grid than that of the inputs below.
                width = 4 if kind_of_encoders == "slim" else 12
                attention = build_bottleneck(name.split()[-1], width, MODALITIES, [2] * dimensions)
            branches = []
            if kind_of_encoders != "shared":
                slimmer = MODALITIES if kind_of_encoders == "slim" else 1
                one = partial(backbone, inputs, kind=kind, dimensions=dimensions, slimmer=slimmer)
                branches = [one() for _ in range(MODALITIES)]
            network = ModalityEncoderNetwork(
                channels,
                inner,
                encoders=kind_of_encoders,
                branches=branches,
                feature_fusion=fusion,
                bottleneck=attention,
                presence_conditioning="conditioned" in name,
            )
            if fusion == "gaussian_product":
                network.fusions.eval()  # the mean rather than a sample of it
        return randomised(network)

    return build_network


def randomised(network: MultimodalNetwork) -> MultimodalNetwork:
    """The network with parameters none of which is 0 or 1 by its initialisation."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def batch(dimensions: int = 2, present: torch.Tensor = PRESENT) -> torch.Tensor:
    size = 16 if dimensions == 2 else 8
    x = torch.randn(len(present), MODALITIES + EXTRA, *[size] * dimensions)
    x[:, :MODALITIES][~present] = float("nan")
    return x


def loss_of(returned: tuple[list[torch.Tensor], Features]) -> torch.Tensor:
    """A loss of the logits, and of the maps of regions where there are some, which learn from a loss of their own."""
    outputs, features = returned
    maps = features.separately.maps if features.separately is not None else ()
    return sum(output.square().mean() for output in [*outputs, *maps])


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_have_the_shapes_that_nnunet_expects(build: Build, name: str, dimensions: int, kind: str) -> None:
    network = build(name, dimensions=dimensions, kind=kind, deep_supervision=True)
    x = batch(dimensions)
    size = x.shape[-1]
    outputs, features = network(x, return_features=True)
    assert [output.shape for output in outputs] == [(2, 3, *[size // s] * dimensions) for s in (1, 2)]
    assert features.latents.shape == (2, 3, 3, *[size] * dimensions)
    assert torch.equal(features.present, PRESENT)
    expected = [(2, c, *[size // s] * dimensions) for c, s in ((4, 1), (8, 2), (12, 4))]
    assert [level.shape for level in features.encoder] == expected
    network.decoder.deep_supervision = False
    assert torch.equal(network(x), outputs[0])
    assert outputs[0].isfinite().all()


@pytest.mark.parametrize(("name", "encoder"), WITH_ENCODERS)
def test_content_of_absent_channels_changes_no_bit(build: Build, name: str, encoder: str) -> None:
    network = build(name, encoder=encoder)
    x = batch()
    other = x.clone()
    other[:, :MODALITIES][~PRESENT] = 1e30 * torch.randn(3, 16, 16)
    other[:, :MODALITIES, 7, 7][~PRESENT] = float("nan")
    assert torch.equal(network(other), network(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_given_presence_equals_the_same_presence_read_from_the_marks(build: Build, name: str) -> None:
    network = build(name)
    x = batch(present=torch.ones_like(PRESENT))
    marked = x.clone()
    marked[:, :MODALITIES][~PRESENT] = float("nan")
    assert torch.equal(network(x, PRESENT), network(marked))


@pytest.mark.parametrize("name", NETWORKS)
def test_prediction_does_not_depend_on_batch_companions(build: Build, name: str) -> None:
    network = build(name).double()
    x = batch().double()
    together = network(x)
    for b in range(2):
        torch.testing.assert_close(network(x[b : b + 1]), together[b : b + 1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "encoder"), [*WITH_ENCODERS, ("early substituting", "learned"), ("early substituting", "in order")]
)
def test_modalities_renumbered_with_their_weights_give_the_same_prediction(
    build: Build, name: str, encoder: str
) -> None:
    network, order = build(name, encoder=encoder).double(), [2, 0, 1]
    x = batch().double()
    other = renumbered(network, order)
    channels = [*order, *range(MODALITIES, MODALITIES + EXTRA)]
    expected = network(x)
    torch.testing.assert_close(other(x[:, channels]), expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(other(x), expected, atol=1e-3)


@pytest.mark.parametrize("present", [PRESENT, ~PRESENT, PRESENT[[1, 1]], torch.ones_like(PRESENT)])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_takes_part_in_every_step(build: Build, name: str, present: torch.Tensor) -> None:
    network = build(name, encoder="separate", deep_supervision=True)
    loss_of(network(batch(present=present), return_features=True)).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", NETWORKS)
def test_modality_absent_from_the_batch_gets_no_gradient(build: Build, name: str) -> None:
    network = build(name, encoder="separate")
    network(batch(present=PRESENT[[0, 0]])).square().sum().backward()
    checked = 0
    for key, parameter in network.named_parameters():
        if key.startswith("bottleneck."):
            if key.startswith("bottleneck.intra."):
                assert (parameter.grad == 0).all() == key.startswith("bottleneck.intra.1."), key
            elif key.endswith("positions.values") and name.endswith("tokens"):
                assert (parameter.grad[1] == 0).all(), key
        elif key.startswith("channel_encoder.conv") or (parameter.ndim == 2 and "absent_" not in key):
            assert (parameter.grad[1] == 0).all(), key
            assert (parameter.grad[[0, 2]] != 0).any(), key
            checked += 1
        elif ".encoders." in key:
            assert (parameter.grad == 0).all() == (".encoders.1." in key), key
            checked += 1
    own = network.specific if name.startswith("shared_specific") else network.encoder
    of_encoders = len(list(own.parameters()))
    if name.startswith("early"):
        assert checked == 2
    elif name == "parallel":
        assert checked == 2 + 2 * 6
    else:
        assert checked == 2 + (2 * 4 if name.startswith("shared ") else of_encoders)


@pytest.mark.parametrize("name", NETWORKS)
def test_sample_with_nothing_present_is_finite_in_value_and_gradient(build: Build, name: str) -> None:
    network = build(name)
    for present in (torch.zeros_like(PRESENT), PRESENT & torch.tensor([[True], [False]])):
        logits = network(batch(present=present))
        logits.square().sum().backward()
        assert logits.isfinite().all()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_extra_channels_reach_every_prediction(build: Build, name: str) -> None:
    network, x = build(name), batch()
    other = x.clone()
    other[:, MODALITIES:] = 0
    difference = (network(other) - network(x)).abs().flatten(1).amax(1)
    assert (difference > 1e-3).all()


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("name", "encoder"), WITH_ENCODERS)
def test_feature_map_size_is_what_the_convolutions_put_out(
    build: Build, name: str, encoder: str, dimensions: int, kind: str
) -> None:
    network = build(name, encoder=encoder, dimensions=dimensions, kind=kind, deep_supervision=True)
    outputs = 0

    def count(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            module.register_forward_hook(count)
    x = batch(dimensions, torch.ones(1, MODALITIES, dtype=torch.bool))
    network(x)
    assert network.compute_conv_feature_map_size(x.shape[2:]) == outputs


@pytest.mark.parametrize("name", NETWORKS)
def test_state_dict_brings_the_prediction_with_it(build: Build, name: str) -> None:
    first, second, x = build(name), build(name), batch()
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))
    assert torch.equal(copy.deepcopy(first)(x), first(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_stays_finite(build: Build, name: str, dtype: torch.dtype) -> None:
    network = build(name)
    with torch.autocast("cpu", dtype):
        logits = network(batch())
    assert logits.isfinite().all()


def _train_two_steps(rank: int, networks: list[MultimodalNetwork], folder: str) -> None:
    """Train in one of two processes, on other subsets than the other process and than in the step before."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.manual_seed(rank)
    states = []
    for network in networks:
        wrapped = nn.parallel.DistributedDataParallel(network)
        optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
        for step in range(2):
            optimiser.zero_grad()
            present = PRESENT[[(rank + step) % 2]]
            loss_of(wrapped(batch(present=present), return_features=True)).backward()
            optimiser.step()
        states.append(network.state_dict())
    torch.save(states, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_with_different_subsets_stay_in_sync(build: Build, tmp_path: Path) -> None:
    networks = [build(name, encoder="separate", deep_supervision=True) for name in NETWORKS]
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    torch.multiprocessing.spawn(_train_two_steps, (networks, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for start, here, there in zip(before, first, second, strict=True):
        assert all(torch.equal(here[key], there[key]) for key in here)
        assert any(not torch.equal(here[key], start[key]) for key in here)


def test_wrong_input_is_refused(build: Build) -> None:
    network = build("early")
    with pytest.raises(ValueError, match="3 modalities, got 2"):
        network(torch.zeros(1, 2, 16, 16))
    with pytest.raises(ValueError, match=r"shape \(2, 3\), got torch.bool \(2, 5\)"):
        network(batch(), torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"got torch.int64"):
        network(batch(), PRESENT.long())
