"""The contrast of cases against a loop over pairs."""

from __future__ import annotations

import torch
from torch.nn import functional

from nnunet_missingmod.losses.contrastive import ContrastiveTerm, contrastive_loss


def unit(*shape: int) -> torch.Tensor:
    return functional.normalize(torch.randn(*shape, dtype=torch.float64), dim=1)


def test_it_is_the_mean_over_pairs_of_samples_that_count() -> None:
    student, teacher, counts = unit(4, 6), unit(4, 6), torch.tensor([True, True, False, True])
    parts = []
    for b in (0, 1, 3):
        for c in (0, 1, 3):
            distance = (student[b] - teacher[c]).norm()
            parts.append(distance**2 if b == c else max(torch.tensor(0.0).double(), 1 - distance) ** 2)
    torch.testing.assert_close(contrastive_loss(student, teacher, counts), sum(parts) / len(parts))


def test_it_is_least_where_the_same_is_near_and_others_are_apart() -> None:
    apart = torch.eye(3, 6).double()
    assert contrastive_loss(apart, apart, torch.ones(3, dtype=torch.bool)) < 1e-10
    assert contrastive_loss(apart, apart[[1, 2, 0]], torch.ones(3, dtype=torch.bool)) > 0.5


def test_equal_vectors_of_different_cases_have_a_finite_gradient() -> None:
    student = torch.eye(1, 6).double().repeat(2, 1).requires_grad_()
    contrastive_loss(student, student.detach(), torch.ones(2, dtype=torch.bool)).backward()
    assert student.grad.isfinite().all()


def test_its_gradient_is_that_of_finite_differences() -> None:
    student, teacher = unit(3, 4).requires_grad_(), unit(3, 4)
    counts = torch.tensor([True, True, False])
    assert torch.autograd.gradcheck(lambda student: contrastive_loss(student, teacher, counts), student)


def test_both_heads_learn_and_both_grids_are_pooled_to_two() -> None:
    for dimensions in (2, 3):
        term = ContrastiveTerm(5, dimensions)
        assert term.of_student[0].in_features == 5 * 2**dimensions
        assert {id(parameter) for parameter in term.of_student.parameters()}.isdisjoint(
            id(parameter) for parameter in term.of_teacher.parameters()
        )


def test_two_views_of_a_case_are_one() -> None:
    both = functional.normalize(torch.eye(2, 6), dim=1).double()
    counts = torch.ones(4, dtype=torch.bool)
    ideal = both.repeat(2, 1)
    assert contrastive_loss(ideal, ideal, counts, views=2) < 1e-10
    assert contrastive_loss(ideal, ideal, counts) > 0.2
    student, teacher = unit(6, 5), unit(6, 5)
    parts = []
    for b in range(6):
        for c in range(6):
            distance = (student[b] - teacher[c]).norm()
            parts.append(distance**2 if b % 3 == c % 3 else max(torch.tensor(0.0).double(), 1 - distance) ** 2)
    found = contrastive_loss(student, teacher, torch.ones(6, dtype=torch.bool), views=2)
    torch.testing.assert_close(found, sum(parts) / len(parts))
