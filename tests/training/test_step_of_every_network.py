"""The step of every network kind in several processes, in some of them compiled."""

from __future__ import annotations

import socket

import pytest
import torch
from every_network import ALL, batch, prepared, segmentation, taught
from torch import distributed as dist
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from nnunet_missingmod.networks.decoded import DecodedFeatures
from nnunet_missingmod.training.average import AverageTeacher
from nnunet_missingmod.training.step import StepLoss

# Of each rank: what its two samples have. Rank 1 never sees modality 0, rank 0 never modality 2.
PRESENT = ([[True, True, False], [True, False, False]], [[False, False, True], [False, True, True]])

# Compiled as well, as nnU-Net does it: one network without and one with a graph break, and a decoder of the terms.
COMPILED = ("early", "nnUNetTrainerMMFormer")


def train(rank, port, names, queue):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for name in names:
        found = trained(rank, name, compiles=False)
        gathered = [torch.empty_like(found) for _ in range(2)]
        dist.all_gather(gathered, found)
        close = True
        if name in COMPILED:
            close = torch.allclose(found, trained(rank, name, compiles=True), rtol=1e-3, atol=1e-5)
        if rank == 0:
            queue.put((name, torch.equal(*gathered), bool(found.isfinite().all()), close))
    dist.destroy_process_group()


def trained(rank, name, *, compiles):
    """Take three steps, and return the parameters, and the average's, as a vector."""
    choices = ALL[name]
    plain, terms = prepared(choices)
    if compiles:  # as nnU-Net does: first the network is compiled, then it is wrapped
        terms.compile_networks(backend="aot_eager")
    network = DistributedDataParallel(torch.compile(plain, backend="aot_eager") if compiles else plain)
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
        loss.complete = torch.randn(data.shape, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(step)
        loss(network(data), target).backward()
        assert all(parameter.grad is not None for parameter in parameters), name
        optimizer.step()
        if average is not None:
            average.update(plain)
    averages = [] if average is None else [value.flatten() for value in average.state_dict()["weights"].values()]
    return torch.cat([parameter.detach().flatten() for parameter in parameters] + averages)


@pytest.mark.slow
def test_every_network_kind_stays_in_sync_with_other_subsets_on_each_rank():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = torch.multiprocessing.get_context("spawn").SimpleQueue()
    spawn(train, args=(port, tuple(ALL), queue), nprocs=2)
    said = [queue.get() for _ in ALL]
    assert said == [(name, True, True, True) for name in ALL]
