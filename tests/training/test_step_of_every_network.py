"""The step of every network kind in the two ways nnU-Net runs it: in several processes, and compiled."""

from __future__ import annotations

import socket

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import distributed as dist
from torch import nn
from torch.multiprocessing import spawn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from nnunet_missingmod.losses.posteriors import Head
from nnunet_missingmod.losses.term import Setting
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.early import EarlyFusionNetwork
from nnunet_missingmod.networks.modality_encoders import ModalityEncoderNetwork
from nnunet_missingmod.networks.parallel import ParallelNetwork
from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.training.average import AverageTeacher
from nnunet_missingmod.training.building import build_terms
from nnunet_missingmod.training.step import StepLoss, TeacherOutput

J, K, SIZE = 3, 2, 8
FEATURES = (4, 6)
DISTILLATION = {"alignment_anchor": "mixture", "divergence": "holder_proper", "mutual_information": "teacher"}
KINDS = {
    "early": {"network": "early", **DISTILLATION},
    "early_learned": {"network": "early", "absent_fill": "learned", "presence_conditioning": True, **DISTILLATION},
    "early_separate": {"network": "early", "channel_encoder": "separate", **DISTILLATION},
    "early_self": {"network": "early", "presence_conditioning": True, "teacher": "average", **DISTILLATION},
    "parallel_logits": {"network": "parallel", **DISTILLATION},
    "parallel_features": {
        "network": "parallel", "fused_at": "features", "feature_fusion": "attention", **DISTILLATION,
    },
    "enumerate": {
        "network": "parallel", "subset_objective": "enumerate", "alignment_anchor": "mixture",
        "divergence": "holder_pseudo", "divergence_target": "label", "mutual_information": "self",
    },
    "enumerate_teacher": {"network": "parallel", "subset_objective": "enumerate", **DISTILLATION},
}  # fmt: skip
# Of each rank: what its two samples have. Rank 1 never sees modality 0, rank 0 never modality 2.
PRESENT = ([[True, True, False], [True, False, False]], [[False, False, True], [False, True, True]])


def segmentation(outputs, targets):
    # As nnU-Net in distributed training: no output has weight 0, else its layer would be unused.
    return sum(
        weight * functional.cross_entropy(output, target[:, 0])
        for weight, output, target in zip((1.0, 1e-6), outputs, targets, strict=True)
    )


def build(choices):
    torch.manual_seed(0)
    kind = choices["channel_encoder"]
    channel_encoder = ChannelEncoder(J, kind, conv_op=nn.Conv2d, absent_fill=choices["absent_fill"])
    parallel = choices["network"] == "parallel"
    backbone = PlainConvUNet(
        channel_encoder.out_channels * (1 if parallel else J), 3, (*FEATURES, 8), nn.Conv2d, 3, (1, 2, 2), 1, K, 1,
        conv_bias=True, norm_op=nn.InstanceNorm2d, norm_op_kwargs={"affine": True}, nonlin=nn.LeakyReLU,
        deep_supervision=True,
    )  # fmt: skip
    if parallel:
        network = (
            ParallelNetwork(channel_encoder, backbone)
            if choices["fused_at"] == "logits"
            else ModalityEncoderNetwork(channel_encoder, backbone, feature_fusion=choices["feature_fusion"])
        )
    else:
        network = EarlyFusionNetwork(channel_encoder, backbone, presence_conditioning=choices["presence_conditioning"])
    network.training_output = "branches" if choices["subset_objective"] == "enumerate" else "features"
    return network


def make_terms(choices):
    setting = Setting(("FLAIR", "T1", "T2"), encoder_channels=(*FEATURES, 8), dimensions=2, head=Head("softmax"))
    return build_terms(choices, segmentation, setting)


def batch(rank, step, present):
    generator = torch.Generator().manual_seed(10 * step + rank)
    data = torch.randn(2, J, SIZE, SIZE, generator=generator)
    data[~present] = float("nan")
    target = torch.randint(0, K, (2, 1, SIZE, SIZE), generator=generator)
    sizes = [(4, SIZE), (6, SIZE // 2), (8, SIZE // 4)]
    encoder = [torch.randn(2, channels, size, size, generator=generator) for channels, size in sizes]
    # On rank 0 no sample has a teacher.
    teacher = TeacherOutput(torch.randn(2, K, SIZE, SIZE, generator=generator), encoder, torch.tensor([rank == 1] * 2))
    return data, [target, target[..., ::2, ::2]], teacher


def train(rank, port, names, queue):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for name in names:
        choices = resolve({"channel_encoder": "shared", **KINDS[name]})
        network = DistributedDataParallel(build(choices))
        terms = make_terms(choices)
        loss = StepLoss(segmentation, DistributedDataParallel(terms))
        average = AverageTeacher(network.module, decay=0.5) if choices["teacher"] == "average" else None
        parameters = [*network.parameters(), *terms.parameters()]
        optimizer = torch.optim.SGD(parameters, 0.01, momentum=0.9)
        for step in range(3):
            data, target, loss.teacher_output = batch(rank, step, torch.tensor(PRESENT[rank]))
            if average is not None:
                loss.teacher_output = average(data, torch.tensor(PRESENT[rank]))
            optimizer.zero_grad(set_to_none=True)
            loss(network(data), target).backward()
            assert all(parameter.grad is not None for parameter in parameters), name
            optimizer.step()
            if average is not None:
                average.update(network.module)
        averages = [] if average is None else [value.flatten() for value in average.state_dict()["weights"].values()]
        flat = torch.cat([parameter.detach().flatten() for parameter in parameters] + averages)
        gathered = [torch.empty_like(flat) for _ in range(2)]
        dist.all_gather(gathered, flat)
        if rank == 0:
            queue.put((name, bool(torch.equal(*gathered)), bool(torch.isfinite(flat).all())))
    dist.destroy_process_group()


@pytest.mark.slow
def test_every_network_kind_stays_in_sync_with_other_subsets_on_each_rank():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = torch.multiprocessing.get_context("spawn").SimpleQueue()
    spawn(train, args=(port, tuple(KINDS), queue), nprocs=2)
    said = [queue.get() for _ in KINDS]
    assert said == [(name, True, True) for name in KINDS]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in KINDS if name != "enumerate_teacher"])  # its network is enumerate's
def test_a_compiled_network_takes_the_step_of_the_plain_one_and_recompiles_a_bounded_number_of_times(name):
    torch._dynamo.reset()
    compilations = []

    def count(graph, _inputs):
        compilations.append(1)
        return graph.forward

    choices = resolve({"channel_encoder": "shared", **KINDS[name]})
    network = build(choices)
    compiled = torch.compile(network, backend=count)
    terms = make_terms(choices)
    loss = StepLoss(segmentation, terms)
    generator = torch.Generator().manual_seed(0)
    numbers = []
    for step in range(16):
        present = torch.rand(2, J, generator=generator) > 0.5
        present[~present.any(1)] = True
        data, target, teacher = batch(1, step, present)
        values = []
        for forward in (compiled, network):
            forward.train()
            loss.teacher_output = teacher
            values.append(loss(forward(data), target).detach())
            forward.eval()
            with torch.no_grad():
                values.append(forward(data)[0])
        torch.testing.assert_close(values[:2], values[2:])
        numbers.append(len(compilations))
    # Training and evaluation; the parallel network's graph is in two halves, each with one or several branches.
    assert numbers[-1] <= (2 if choices["network"] == "early" else 8)
    torch._dynamo.reset()
