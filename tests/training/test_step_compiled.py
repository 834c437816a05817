"""The step of every network kind compiled, as on a GPU: the plain step, with a bounded number of graphs."""

from __future__ import annotations

import shutil

import pytest
import torch
from every_network import ALL, KINDS, SIZE, Counting, J, batch, prepared, random_present, segmentation, taught

from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.decoded import DecodedFeatures
from nnunet_missingmod.training.step import StepLoss

# Beside the kinds, a family for each network that is made of other parts.
OF_OTHER_PARTS = ("nnUNetTrainerHeMIS", "nnUNetTrainerDeMoSeg", "nnUNetTrainerShaSpec")
MORE_OF_OTHER_PARTS = (
    "nnUNetTrainerUHVED",
    "nnUNetTrainerRFNet",
    "nnUNetTrainerMMFormer",
    "nnUNetTrainerM3FeCon",
    "nnUNetTrainerPMKLTeacher",
    "nnUNetTrainerACN",
)
# They differ from "early" by parts that other tests of the compiled step have.
MORE_KINDS = ("early_learned", "early_separate")
# The network of enumerate_teacher is that of enumerate.
COMPILED = [name for name in KINDS if name not in ("enumerate_teacher", *MORE_KINDS)] + [*OF_OTHER_PARTS]


@pytest.mark.slow
# Dynamo looks at what a hook keeps, which is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize(
    "name",
    [*COMPILED, *(pytest.param(name, marks=pytest.mark.every) for name in (*MORE_KINDS, *MORE_OF_OTHER_PARTS))],
)
# Past its limit torch would run the plain network, and only its log would say so.
@torch._dynamo.config.patch(fail_on_recompile_limit_hit=True)
def test_a_compiled_network_takes_the_step_of_the_plain_one_and_recompiles_a_bounded_number_of_times(name):
    torch._dynamo.reset()
    count = Counting()
    choices = ALL[name]
    network, terms = prepared(choices)
    compiled = torch.compile(network, backend=count)
    loss = StepLoss(segmentation, terms, DecodedFeatures(network) if terms.uses_decoded else None)
    generator = torch.Generator().manual_seed(0)
    numbers = []
    for step in range(16):
        present = random_present(generator)
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
        numbers.append(count.graphs)
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
    assert count.graphs <= most
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's inductor needs a compiler")
def test_the_code_that_inductor_makes_takes_the_plain_step():
    torch._dynamo.reset()
    network, terms = prepared(ALL["parallel_logits"])
    present = torch.tensor([[True, True, False], [True, False, False]])
    data, target, teacher = batch(1, 0, present)
    loss = StepLoss(segmentation, terms, None)
    steps = []
    for forward in (torch.compile(network), network):
        loss.teacher_output = teacher
        torch.manual_seed(0)
        network.zero_grad(set_to_none=True)
        value = loss(forward(data), target)
        value.backward()
        steps.append([value.detach(), *(each.grad for each in network.parameters() if each.grad is not None)])
    torch.testing.assert_close(*steps, rtol=1e-3, atol=1e-5)
    torch._dynamo.reset()


@pytest.mark.slow
# Dynamo looks at what a compiled part gets, which is no leaf.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
# A partner that is stock nnU-Net's kind of network; one decoder for the pairs that were encoded, in any number of rows;
# a decoder for each modality.
@pytest.mark.parametrize("name", ["nnUNetTrainerACN", "nnUNetTrainerMMFormer", "nnUNetTrainerUHVED"])
@torch._dynamo.config.patch(fail_on_recompile_limit_hit=True)
def test_partners_and_decoders_of_terms_are_compiled_and_take_the_plain_step(name):
    torch._dynamo.reset()
    count = Counting()
    choices = ALL[name]
    (network, terms), (plain_network, plain_terms) = (prepared(choices) for _ in range(2))
    terms.compile_networks(backend=count)
    assert terms.state_dict().keys() == plain_terms.state_dict().keys()
    generator = torch.Generator().manual_seed(0)
    numbers = []
    for step in range(6):
        present = random_present(generator)
        data, target, teacher = batch(1, step, present)
        steps = []
        for forward, of_forward in ((network, terms), (plain_network, plain_terms)):
            loss = StepLoss(segmentation, of_forward, DecodedFeatures(forward) if of_forward.uses_decoded else None)
            loss.teacher_output = taught(choices, forward, None, data, present, teacher)
            loss.complete = data
            forward.encodes_dropped = of_forward.uses_dropped
            torch.manual_seed(step)
            of_forward.zero_grad(set_to_none=True)
            value = loss(forward(data), target)
            value.backward()
            steps.append([value.detach(), *(each.grad for each in of_forward.parameters() if each.grad is not None)])
        torch.testing.assert_close(*steps, rtol=1e-4, atol=1e-6)
        numbers.append(count.graphs)
    # A graph for each; one more for other numbers of rows; around stock nnU-Net's network the hooks are graphs, too.
    assert 0 < numbers[-1] <= {"nnUNetTrainerUHVED": J, "nnUNetTrainerMMFormer": 2}.get(name, 4)
    assert numbers[-1] == numbers[3]
    torch._dynamo.reset()
