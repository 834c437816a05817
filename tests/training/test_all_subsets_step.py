"""The mean over subsets: its value and gradients are those of the plain mean, its memory that of one subset."""

from __future__ import annotations

import copy
import weakref

import numpy as np
import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from nnunet_missingmod.losses.gradient_surgery import flatten, unflatten, without_conflicts
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.networks.branches import fuse_subsets
from nnunet_missingmod.networks.channel_encoder import ChannelEncoder
from nnunet_missingmod.networks.parallel import ParallelNetwork
from nnunet_missingmod.training import all_subsets_step
from nnunet_missingmod.training.all_subsets_step import SurgeryScale, mean_over_subsets

J = 3


@pytest.fixture
def network():
    torch.manual_seed(0)
    backbone = PlainConvUNet(
        J, 2, (4, 6), nn.Conv2d, 3, (1, 2), 1, 3, 1, conv_bias=True, norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"affine": True}, nonlin=nn.LeakyReLU, deep_supervision=False,
    )  # fmt: skip
    return ParallelNetwork(ChannelEncoder(J, "shared", conv_op=nn.Conv2d), backbone).double()


@pytest.fixture
def head():
    return nn.Conv2d(6, 2, 1).double()


def batch():
    x = torch.randn(2, J, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x[1, 0] = float("nan")
    return x


def loss_of(head):
    def evaluate(output):
        first, second = (output.logits**2).mean(), head(output.encoder[-1]).exp().mean()
        return first + 3 * second, {"first": first, "second": second}

    return evaluate


def test_value_gradients_and_reported_means_are_those_of_the_plain_mean(network, head):
    plain, plain_head = copy.deepcopy(network), copy.deepcopy(head)
    outputs = fuse_subsets(plain(batch(), return_branches=True), all_subsets(J), return_features=True)
    losses = [loss_of(plain_head)(output) for output in outputs]
    expected = torch.stack([loss for loss, _ in losses]).mean()
    (0.5 * expected).backward()
    branches = network(batch(), return_branches=True)
    total, values = mean_over_subsets(branches, all_subsets(J), loss_of(head), parameters=list(head.parameters()))
    assert all(parameter.grad is None for parameter in head.parameters())
    (0.5 * total).backward()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(values["second"], torch.stack([v["second"] for _, v in losses]).mean())
    for ours, theirs in ((network, plain), (head, plain_head)):
        for (name, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, other.grad, msg=name)


def test_gradients_of_half_precision_branches_do_not_vanish_before_the_loss_is_scaled(network):
    branches = network(batch(), return_branches=True)
    half = branches.logits.detach().to(torch.float16).requires_grad_()
    branches = branches._replace(logits=half, encoder=[])

    def tiny_loss(output):
        loss = 1e-9 * output.logits.sum()
        return loss, {"loss": loss}

    total, _ = mean_over_subsets(branches, all_subsets(J), tiny_loss, parameters=[])
    (total * 2.0**16).backward()
    assert half.grad.dtype == torch.float16
    assert (half.grad > 0).all()


def test_a_subset_is_freed_before_the_next(network, head):
    alive = []

    def evaluate(output):
        assert all(reference() is None for reference in alive)
        alive[:] = [weakref.ref(output.logits), *(weakref.ref(level) for level in output.encoder)]
        return output.logits.sum() + output.encoder[0].sum(), {}

    mean_over_subsets(network(batch(), return_branches=True), all_subsets(J), evaluate, parameters=[])
    assert alive


def test_what_has_no_influence_gets_no_gradient(network, head):
    branches = network(batch(), return_branches=True)

    def evaluate(output):
        return output.logits.sum(), {}

    total, values = mean_over_subsets(branches, all_subsets(J), evaluate, parameters=list(head.parameters()))
    total.backward()
    assert values == {}
    assert all(parameter.grad is None for parameter in head.parameters())


def opposed(head):
    """Pairs of modalities want the opposite of what the other subsets want."""

    def evaluate(output):
        loss, values = loss_of(head)(output)
        return (-loss if len(output.subset) == 2 else loss), values

    return evaluate


def gradients_of_subsets(branches, head, tensors):
    """The gradient of each subset's own loss with respect to some tensors."""
    rows = []
    for output in fuse_subsets(branches, all_subsets(J), return_features=True):
        loss, _ = opposed(head)(output)
        found = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
        rows.append(flatten(found, tensors))
    return torch.stack(rows)


@pytest.mark.parametrize("surgery", ["parameters", "logits"])
def test_surgery_changes_the_gradients_that_it_is_to_change_and_keeps_the_value(network, head, surgery):
    parameters = list(network.parameters())
    alone = network(batch(), return_branches=True)
    if surgery == "logits":
        # Logits and levels each by itself.
        leaves = [tensor.requires_grad_() for tensor in alone.detached().outputs()]
        alone = alone._replace(logits=leaves[0], encoder=leaves[1:])
    like = parameters if surgery == "parameters" else alone.outputs()
    rows = gradients_of_subsets(alone, head, like)
    assert ((rows @ rows.T) < 0).any()
    expected = unflatten(without_conflicts(rows, np.random.default_rng(3)), like)
    branches = network(batch(), return_branches=True)
    total, _ = mean_over_subsets(
        branches,
        all_subsets(J),
        opposed(head),
        parameters=list(head.parameters()),
        surgery=surgery,
        network=parameters,
        scale=SurgeryScale(),
        rng=np.random.default_rng(3),
    )
    plain, _ = mean_over_subsets(network(batch(), return_branches=True), all_subsets(J), opposed(head), parameters=[])
    torch.testing.assert_close(total, plain)
    # Of the graph as it is: logits depend on levels, and each gets what is its own.
    differentiated = total.grad_fn
    assert differentiated is not None
    own = [gradient for gradient in differentiated.saved_tensors][: len(like)]
    assert any(gradient is not None for gradient in own)
    for ours, theirs in zip(own, expected, strict=True):
        torch.testing.assert_close(torch.zeros_like(theirs) if ours is None else ours, theirs)


@pytest.mark.parametrize("surgery", ["parameters", "logits"])
def test_surgery_of_tiny_gradients_under_mixed_precision_is_that_of_full_precision(network, surgery):
    network.float()
    parameters = list(network.parameters())

    def tiny_loss(output):
        sign = -1 if len(output.subset) == 2 else 1
        loss = sign * 1e-9 * (output.logits**2).sum()
        return loss, {}

    found = []
    for half in (False, True):
        with torch.autocast("cpu", torch.float16, enabled=half):
            branches = network(batch().float(), return_branches=True)
            branches = branches._replace(encoder=[])
            total, _ = mean_over_subsets(
                branches,
                all_subsets(J),
                tiny_loss,
                parameters=[],
                surgery=surgery,
                network=parameters,
                scale=SurgeryScale(),
                rng=np.random.default_rng(3),
            )
        gradients = torch.autograd.grad(total * 2.0**16, parameters, allow_unused=True)
        found.append(flatten(gradients, parameters))
    assert found[0].abs().max() > 0
    assert found[1].isfinite().all()
    assert torch.nn.functional.cosine_similarity(found[0], found[1], dim=0) > 0.99
    assert 0.9 < found[1].norm() / found[0].norm() < 1.1


class Steep(torch.autograd.Function):
    """The identity, through which gradients grow on their way back, in the precision of what goes through."""

    @staticmethod
    def forward(ctx, x, gain):
        ctx.gain = gain
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.gain, None


def exact_step(network, scale, *, gain, half):
    """The gradient of the network's parameters by exact surgery, in mixed or in full precision."""
    parameters = list(network.parameters())

    def evaluate(output):
        return (-1 if len(output.subset) == 2 else 1) * (output.logits**2).mean(), {}

    with torch.autocast("cpu", torch.float16, enabled=half):
        branches = network(batch().float(), return_branches=True)
        branches = branches._replace(logits=Steep.apply(branches.logits, gain), encoder=[])
        total, _ = mean_over_subsets(
            branches,
            all_subsets(J),
            evaluate,
            parameters=[],
            surgery="parameters",
            network=parameters,
            scale=scale,
            rng=np.random.default_rng(3),
        )
    return flatten(torch.autograd.grad(total, parameters, allow_unused=True), parameters)


def test_surgery_that_overflows_in_half_precision_loses_few_steps_and_goes_on_with_the_same_gradients(network):
    network.float()
    scale, gain = SurgeryScale(), 2.0**20
    steps = [exact_step(network, scale, gain=gain, half=True) for _ in range(5)]
    assert not steps[0].isfinite().all()
    expected = gain * exact_step(network, SurgeryScale(), gain=1.0, half=True)
    assert steps[-1].isfinite().all()
    assert torch.nn.functional.cosine_similarity(steps[-1], expected, dim=0) > 0.999
    assert 0.99 < steps[-1].norm() / expected.norm() < 1.01


def test_after_many_steps_without_overflow_the_scale_is_where_it_began_and_no_higher(network, monkeypatch):
    monkeypatch.setattr(all_subsets_step, "_STEPS_TO_GROW", 2)
    network.float()
    scale = SurgeryScale()
    gradients = [torch.tensor([0.25, -4.0])]
    began = scale.of(gradients)
    assert 4 * began == 2.0**-6
    exact_step(network, scale, gain=2.0**24, half=True)
    assert scale.of(gradients) < began / 2
    for _ in range(40):
        exact_step(network, scale, gain=1.0, half=True)
    assert torch.equal(scale.of(gradients), began)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_loss_that_is_not_finite_does_not_lower_the_scale(value):
    scale = SurgeryScale()
    began = scale.of([torch.ones(2)])
    factor = scale.of([torch.tensor([1.0, value])])
    scale.note(factor, torch.tensor([value]))
    assert torch.equal(scale.of([torch.ones(2)]), began)


def test_however_often_it_overflows_the_scale_stays_above_zero():
    scale = SurgeryScale()
    for _ in range(1000):
        scale.note(scale.of([torch.ones(2)]), torch.tensor([float("inf")]))
    assert scale.of([torch.ones(2)]) > 0


def test_a_scale_changes_no_bit_of_a_step_in_full_precision_and_is_not_changed_by_it(network):
    network.float()
    lowered = SurgeryScale()
    exact_step(network, lowered, gain=2.0**24, half=True)
    before = lowered.of([torch.ones(2)])
    assert before < SurgeryScale().of([torch.ones(2)])
    steps = [exact_step(network, scale, gain=2.0**24, half=False) for scale in (SurgeryScale(), lowered)]
    assert torch.equal(*steps)
    assert torch.equal(lowered.of([torch.ones(2)]), before)
