"""Gated distillation against a loop over voxels."""

from __future__ import annotations

import math

import pytest
import torch

from nnunet_missingmod.losses.gated_distillation import gated_distillation_loss
from nnunet_missingmod.losses.posteriors import Head

T = 10.0


def softmax(values: list[float], temperature: float = 1.0) -> list[float]:
    exponentials = [math.exp(value / temperature) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def loss(student: torch.Tensor, teacher: torch.Tensor, target: torch.Tensor, head: Head, **more: torch.Tensor):
    return gated_distillation_loss(student, teacher, target, head=head, temperature=T, **more)


def test_classes_equal_a_loop_over_voxels() -> None:
    student, teacher = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 1, 4, 5))
    total = weight = 0.0
    for b in range(2):
        for x in range(4):
            for y in range(5):
                s, t, label = student[b, :, x, y].tolist(), teacher[b, :, x, y].tolist(), int(target[b, 0, x, y])
                better = max(0.0, math.log(softmax(t)[label]) - math.log(softmax(s)[label]))
                gate = better if t.index(max(t)) == label else 0.0
                entropy = -sum(q * math.log(p) for q, p in zip(softmax(t, T), softmax(s, T), strict=True))
                total, weight = total + gate * entropy, weight + gate
    assert weight > 0
    torch.testing.assert_close(loss(student, teacher, target, Head("softmax")), torch.tensor(total / weight).double())


def test_regions_are_gated_each_by_itself() -> None:
    student, teacher = torch.randn(2, 2, 2, 3, dtype=torch.float64)
    target = torch.randint(0, 2, (2, 2, 3)).double()
    total = weight = 0.0
    for s, t, inside in zip(*(part.flatten().tolist() for part in (student, teacher, target)), strict=True):
        s_pair, t_pair, label = [s, 0.0], [t, 0.0], 0 if inside else 1
        better = max(0.0, math.log(softmax(t_pair)[label]) - math.log(softmax(s_pair)[label]))
        gate = better if (t > 0) == bool(inside) else 0.0
        pairs = zip(softmax(t_pair, T), softmax(s_pair, T), strict=True)
        total, weight = total - gate * sum(q * math.log(p) for q, p in pairs), weight + gate
    torch.testing.assert_close(loss(student, teacher, target, Head("regions")), torch.tensor(total / weight).double())


def test_a_teacher_that_is_wrong_or_worse_teaches_nothing() -> None:
    good = torch.tensor([[[5.0], [0.0]]])
    target = torch.zeros(1, 1, 1)
    for student, teacher in ((good, -good), (good, good / 2)):
        student = student.clone().requires_grad_()
        value = loss(student, teacher, target, Head("softmax"))
        assert value == 0
        value.backward()


@pytest.mark.parametrize("kind", ["softmax", "regions"])
def test_ignored_voxels_and_untaught_samples_do_not_matter(kind: str) -> None:
    student, teacher = torch.randn(2, 2, 3, 4, 4)
    student.requires_grad_()
    if kind == "softmax":
        target = torch.randint(0, 4, (2, 1, 4, 4))
        ignored = target[:, 0] == 3
        head = Head(kind, ignore_label=3)
    else:
        target = torch.randint(0, 2, (2, 4, 4, 4)).float()
        ignored = target[:, -1] > 0
        head = Head(kind, ignore_label=1)
    counts = torch.tensor([True, False])
    other = torch.where((ignored | ~counts[:, None, None])[:, None], torch.nan, teacher)
    value = loss(student, teacher, target, head, counts=counts)
    torch.testing.assert_close(loss(student, other, target, head, counts=counts), value)
    (gradient,) = torch.autograd.grad(value, student)
    assert (gradient[1] == 0).all()
    assert (gradient[0][:, ignored[0]] == 0).all()
    assert (gradient[0] != 0).any()


def test_the_gate_is_no_way_to_lower_the_loss() -> None:
    # The teacher is right and better in two of three voxels.
    student = torch.tensor([[[0.1, -0.4, 0.8], [0.3, 0.2, -0.5]]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[[0.9, 0.6, 0.1], [-0.2, 0.1, 0.4]]], dtype=torch.float64)
    target = torch.zeros(1, 1, 3)
    (gradient,) = torch.autograd.grad(loss(student, teacher, target, Head("softmax")), student)
    # With the gate fixed the gradient is the weighted mean of (softmax(s / T) - softmax(t / T)) / T.
    gate = (teacher.log_softmax(1)[:, 0] - student.detach().log_softmax(1)[:, 0]).clamp(min=0)
    gate = torch.where(teacher.argmax(1) == 0, gate, 0)
    expected = gate * ((student.detach() / T).softmax(1) - (teacher / T).softmax(1)) / T / gate.sum()
    torch.testing.assert_close(gradient, expected)
