"""A step of every network under CUDA's autocast with fake tensors, which know the device and have no values.

Other than on torch's meta device, an operation on tensors of two devices fails, and copies from the CPU can be seen:
those that are not asynchronous make the CPU wait for the GPU. Backward passes do not run without a GPU.
"""

from __future__ import annotations

import traceback

import pytest
import torch
from every_network import ALL, batch, prepared, segmentation, taught
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nnunet_missingmod.losses import gradient_surgery
from nnunet_missingmod.networks.decoded import DecodedFeatures
from nnunet_missingmod.networks.multimodal import tell_present
from nnunet_missingmod.training import all_subsets_step
from nnunet_missingmod.training.average import AverageTeacher
from nnunet_missingmod.training.step import StepLoss

PRESENT = torch.tensor([[True, True, False], [True, True, True]])
KEPT = torch.tensor([[True, False, False], [True, True, True]])


class FakeGPU(TorchDispatchMode):
    """Inside, tensors of the GPU are fake and those of the CPU are real.

    Attributes:
        waits: lines of the package that copy to the GPU and wait for it.
    """

    def __init__(self):
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.waits = set()

    def __enter__(self):
        """Enter the mode of fake tensors first, which keeps torch from looking for a GPU."""
        self.fake.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        """Leave both."""
        super().__exit__(*error)
        self.fake.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation on real tensors as it is, and another on what it makes of fake ones."""
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        to_gpu = torch.device(kwargs.get("device") or "cpu").type == "cuda"
        if not to_gpu and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        copies = func is torch.ops.aten._to_copy.default and not isinstance(args[0], FakeTensor)
        if copies and to_gpu and not kwargs.get("non_blocking"):
            ours = [frame for frame in traceback.extract_stack() if "/nnunet_missingmod/" in frame.filename]
            self.waits |= {f"{frame.filename}:{frame.lineno} {frame.line}" for frame in ours[-1:]}
        with self.fake:
            return func(*args, **kwargs)


def bring(module):
    """Put the parameters and buffers of a module on the fake GPU, one that it has in two places as one."""
    there = {}
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None and value.device.type == "cpu":
                on_gpu = torch.nn.Parameter(value.detach().to("cuda"), requires_grad=value.requires_grad)
                part._parameters[name] = there.setdefault(id(value), on_gpu)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = value.to("cuda")


@pytest.fixture
def fake_gpu(monkeypatch):
    """A fake GPU with autocast; the gradients that exact surgery wants are zeros."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.autograd, "grad", lambda outputs, inputs, *_a, **_k: tuple(map(torch.zeros_like, inputs)))
    # Surgery waits once, for the products of the subsets' gradients.
    for module in (gradient_surgery, all_subsets_step):
        monkeypatch.setattr(module, "weights_without_conflicts", lambda products, _rng: torch.ones(len(products)))
    return FakeGPU()


@pytest.mark.parametrize("name", list(ALL))
def test_a_step_waits_for_no_copy_and_mixes_no_devices(fake_gpu, name):
    choices = ALL[name]
    network, terms = prepared(choices)
    average = AverageTeacher(network, decay=0.5) if choices["teacher"] == "average" else None
    data, target, teacher = batch(1, 0, PRESENT)
    with fake_gpu:
        bring(network)
        bring(terms)
        network.encodes_dropped = terms.uses_dropped
        if terms.partner_network is not None:
            terms.partner_network.training_output = "features"
        terms.operated_on = tuple(network.parameters())
        loss = StepLoss(segmentation, terms, DecodedFeatures(network) if terms.uses_decoded else None)
        if average is not None:
            bring(average._network)
        data, target = data.to("cuda"), [level.to("cuda") for level in target]
        teacher = teacher._replace(
            logits=teacher.logits.to("cuda").half(),
            encoder=[level.to("cuda").half() for level in teacher.encoder],
            decoded=teacher.decoded.to("cuda").half(),
            complete=teacher.complete.to("cuda"),
        )
        fake_gpu.waits.clear()
        with torch.autocast("cuda"):
            loss.teacher_output = taught(choices, network, average, data, PRESENT, teacher)
            loss.complete = data.clone()
            tell_present(network, PRESENT, kept=KEPT if terms.uses_dropped else None)
            value = loss(network(data), target)
    assert value.device.type == "cuda"
    assert value.dtype == torch.float32
    assert not fake_gpu.waits


@pytest.mark.parametrize("name", list(ALL))
def test_a_told_prediction_waits_for_no_copy_and_mixes_no_devices(fake_gpu, name):
    network, _terms = prepared(ALL[name])
    x = torch.randn(2, 3, 8, 8)
    with fake_gpu, torch.no_grad():
        bring(network)
        network.eval()
        network.decoder.deep_supervision = False
        x = x.to("cuda")
        fake_gpu.waits.clear()
        with torch.autocast("cuda"):
            tell_present(network, PRESENT)
            if ALL[name]["network"] != "stock":
                assert network(x, PRESENT).device.type == "cuda"
                assert network.encoder_features(x, PRESENT)[0].device.type == "cuda"
    assert not fake_gpu.waits
