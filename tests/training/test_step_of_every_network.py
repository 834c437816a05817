"""The step of every network kind in the two ways nnU-Net runs it: in several processes, and compiled."""

from __future__ import annotations

import socket

import pytest
import torch
from building import build, choices_of, make_terms
from torch import distributed as dist
from torch._dynamo.backends.debugging import aot_eager
from torch.multiprocessing import spawn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from nnunet_missingmod.choices import PRETRAINERS, TRAINERS
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.decoded import DecodedFeatures
from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.training.average import AverageTeacher
from nnunet_missingmod.training.step import StepLoss, TeacherOutput

J, K, SIZE = 3, 2, 8
DISTILLATION = {"alignment_anchor": "mixture", "divergence": "holder_proper", "mutual_information": "teacher"}
KINDS = {
    "early": {"network": "early", **DISTILLATION},
    "early_learned": {"network": "early", "absent_fill": "learned", "presence_conditioning": True, **DISTILLATION},
    "early_separate": {"network": "early", "channel_encoder": "separate", **DISTILLATION},
    "early_self": {"network": "early", "presence_conditioning": True, "teacher": "average", **DISTILLATION},
    "early_kernels": {
        "network": "early", "presence_conditioning": True, "presence_convolutions": True, **DISTILLATION,
    },
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
OF_KINDS = {name: resolve({"channel_encoder": "shared", **block}) for name, block in KINDS.items()}
FAMILIES = {name: choices_of(name) for name in TRAINERS["Families"][1] if name not in PRETRAINERS}
ALL = OF_KINDS | FAMILIES
# Of each rank: what its two samples have. Rank 1 never sees modality 0, rank 0 never modality 2.
PRESENT = ([[True, True, False], [True, False, False]], [[False, False, True], [False, True, True]])


def segmentation(outputs, targets):
    # As nnU-Net in distributed training: no output has weight 0, else its layer would be unused.
    return sum(
        weight * functional.cross_entropy(output, target[:, 0])
        for weight, output, target in zip((1.0, 1e-6), outputs, targets, strict=True)
    )


def one_resolution(output, target):
    return functional.cross_entropy(output, target[:, 0])


def prepared(choices):
    """A network in training, and its terms with a loss around them."""
    torch.manual_seed(0)
    network = build(choices)
    terms = make_terms(choices, network, segmentation, one_resolution)
    network.training_output = "branches" if choices["subset_objective"] == "enumerate" else "features"
    return network, terms


def taught(choices, network, average, data, present, teacher):
    """What the teacher says: the network's average, or the given output."""
    if average is not None:
        return average(data, present)
    return teacher if choices["divergence"] != "none" or choices["teacher"] != "auto" else None


def batch(rank, step, present):
    generator = torch.Generator().manual_seed(10 * step + rank)
    data = torch.randn(2, J, SIZE, SIZE, generator=generator)
    data[~present] = float("nan")
    target = torch.randint(0, K, (2, 1, SIZE, SIZE), generator=generator)
    sizes = [(4, SIZE), (6, SIZE // 2), (8, SIZE // 4)]
    encoder = [torch.randn(2, channels, size, size, generator=generator) for channels, size in sizes]
    # On rank 0 no sample has a teacher.
    logits, decoded = (torch.randn(2, channels, SIZE, SIZE, generator=generator) for channels in (K, 4))
    teacher = TeacherOutput(logits, encoder, torch.tensor([rank == 1] * 2), decoded)
    return data, [target, target[..., ::2, ::2]], teacher


def train(rank, port, names, queue):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for name in names:
        choices = ALL[name]
        plain, terms = prepared(choices)
        network = DistributedDataParallel(plain)
        learns = any(parameter.requires_grad for parameter in terms.parameters())
        loss = StepLoss(
            segmentation,
            DistributedDataParallel(terms) if learns else terms,
            DecodedFeatures(network) if terms.uses_decoded else None,
        )
        average = AverageTeacher(plain, decay=0.5) if choices["teacher"] == "average" else None
        parameters = [*network.parameters(), *terms.parameters()]
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        optimizer = torch.optim.SGD(parameters, 0.01, momentum=0.9)
        for step in range(3):
            present = torch.tensor(PRESENT[rank])
            data, target, teacher = batch(rank, step, present)
            loss.teacher_output = taught(choices, plain, average, data, present, teacher)
            loss.complete = torch.randn_like(data)
            optimizer.zero_grad(set_to_none=True)
            loss(network(data), target).backward()
            assert all(parameter.grad is not None for parameter in parameters), name
            optimizer.step()
            if average is not None:
                average.update(plain)
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
    spawn(train, args=(port, tuple(ALL), queue), nprocs=2)
    said = [queue.get() for _ in ALL]
    assert said == [(name, True, True) for name in ALL]


# Beside the kinds, a family for each network that is made of other parts.
OF_OTHER_PARTS = (
    "nnUNetTrainerHeMIS",
    "nnUNetTrainerUHVED",
    "nnUNetTrainerRFNet",
    "nnUNetTrainerMMFormer",
    "nnUNetTrainerM3FeCon",
    "nnUNetTrainerDeMoSeg",
    "nnUNetTrainerPMKLTeacher",
    "nnUNetTrainerACN",
    "nnUNetTrainerShaSpec",
)


@pytest.mark.slow
# Dynamo looks at what a hook keeps, which is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
# The network of enumerate_teacher is that of enumerate.
@pytest.mark.parametrize("name", [*(name for name in KINDS if name != "enumerate_teacher"), *OF_OTHER_PARTS])
# Past its limit torch would run the plain network, and only its log would say so.
@torch._dynamo.config.patch(fail_on_recompile_limit_hit=True)
def test_a_compiled_network_takes_the_step_of_the_plain_one_and_recompiles_a_bounded_number_of_times(name):
    torch._dynamo.reset()
    compilations = []

    def count(graph, inputs):
        compilations.append(1)
        return aot_eager(graph, inputs)  # whose backward pass is compiled, too

    choices = ALL[name]
    network, terms = prepared(choices)
    compiled = torch.compile(network, backend=count)
    loss = StepLoss(segmentation, terms, DecodedFeatures(network) if terms.uses_decoded else None)
    generator = torch.Generator().manual_seed(0)
    numbers = []
    for step in range(16):
        present = torch.rand(2, J, generator=generator) > 0.5
        present[~present.any(1)] = True
        data, target, teacher = batch(1, step, present)
        values = []
        for forward in (compiled, network):
            forward.train()
            loss.teacher_output = taught(choices, network, None, data, present, teacher)
            loss.complete = data
            torch.manual_seed(step)
            network.zero_grad(set_to_none=True)
            value = loss(forward(data), target)
            value.backward()
            gradients = [parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None]
            values += [value.detach(), torch.cat(gradients)]
            forward.eval()
            with torch.no_grad():
                values.append(forward(data)[0])
        torch.testing.assert_close(values[:3], values[3:], rtol=1e-4, atol=1e-6)
        numbers.append(len(compilations))
    assert numbers[-1] == numbers[8]
    # Prediction: one sample, without deep supervision, any subset.
    network.decoder.deep_supervision = False
    for subset in all_subsets(J):
        data = torch.randn(1, J, SIZE, SIZE, generator=generator)
        data[:, [channel for channel in range(J) if channel not in subset]] = float("nan")
        with torch.no_grad():
            torch.testing.assert_close(compiled(data), network(data))
    # A graph each for training, validation and prediction, and another for one branch alone. Encoders of modalities,
    # which end a graph, follow the shared one of "shared_specific". Around stock nnU-Net's network the hooks are graphs
    # of their own: three more in training, one more each in validation and prediction, and one for another batch.
    most = {"early": 3, "stock": 9}.get(choices["network"], 10 if choices["encoders"] == "shared_specific" else 6)
    assert len(compilations) <= most
    torch._dynamo.reset()
