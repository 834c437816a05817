"""A training step of every kind of network and of every family: networks, terms and batches, small and in 2D."""

from __future__ import annotations

import torch
from building import build, choices_of, make_terms
from torch._dynamo.backends.debugging import aot_eager
from torch.nn import functional

from nnunet_missingmod.choices import PRETRAINERS, TRAINERS
from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.training.step import TeacherOutput

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


def segmentation(outputs, targets):
    """A loss as nnU-Net's, at two resolutions."""
    # As nnU-Net in distributed training: no output has weight 0, else its layer would be unused.
    return sum(
        weight * functional.cross_entropy(output, target[:, 0])
        for weight, output, target in zip((1.0, 1e-6), outputs, targets, strict=True)
    )


def one_resolution(output, target):
    """The same at one."""
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


def random_present(generator):
    """What two samples have, something at least."""
    present = torch.rand(2, J, generator=generator) > 0.5
    present[~present.any(1)] = True
    return present


def batch(rank, step, present):
    """Two samples, their labels at two resolutions, and what a teacher says, which there is none of on rank 0."""
    generator = torch.Generator().manual_seed(10 * step + rank)
    data = torch.randn(2, J, SIZE, SIZE, generator=generator)
    data[~present] = float("nan")
    target = torch.randint(0, K, (2, 1, SIZE, SIZE), generator=generator)
    sizes = [(4, SIZE), (6, SIZE // 2), (8, SIZE // 4)]
    encoder = [torch.randn(2, channels, size, size, generator=generator) for channels, size in sizes]
    logits, decoded = (torch.randn(2, channels, SIZE, SIZE, generator=generator) for channels in (K, 4))
    teacher = TeacherOutput(logits, encoder, torch.tensor([rank == 1] * 2), decoded)
    return data, [target, target[..., ::2, ::2]], teacher


class Counting:
    """A backend that counts the graphs that it gets; their backward passes are compiled, too."""

    graphs = 0

    def __call__(self, graph, inputs):
        """Return a graph's compiled code."""
        self.graphs += 1
        return aot_eager(graph, inputs)
