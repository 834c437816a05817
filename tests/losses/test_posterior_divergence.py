"""The divergence loss from logits: both heads, teacher or labels, what counts, and half precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nnunet_missingmod.choices import DIVERGENCES
from nnunet_missingmod.losses.posterior_divergence import PosteriorDivergenceLoss, posterior_divergence_loss

SHAPE = (2, 3, 2, 2, 2)
NAN = float("nan")


def logits(seed: int, shape: tuple[int, ...] = SHAPE, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def kl(q: list[float], p: list[float]) -> float:
    return sum(y * math.log(y / x) for x, y in zip(p, q, strict=True))


def voxels(values: Tensor) -> list[tuple[int, ...]]:
    """Return the indices (sample, x, y, z) of all voxels of (B, C, X, Y, Z)."""
    return [tuple(index) for index in torch.ones_like(values[:, 0]).nonzero().tolist()]


def test_softmax_head_is_the_mean_over_voxels_of_kl_of_teacher_to_student_times_t_squared() -> None:
    student, teacher, t = logits(0), logits(1), 2.5
    expected = []
    for b, x, y, z in voxels(student):
        p = softmax([value / t for value in student[b, :, x, y, z].tolist()])
        q = softmax([value / t for value in teacher[b, :, x, y, z].tolist()])
        expected.append(t**2 * kl(q, p))
    found = posterior_divergence_loss(student, teacher_logits=teacher, kind="kullback_leibler", temperature=t)
    assert found.item() == pytest.approx(sum(expected) / len(expected))


def test_regions_head_is_the_mean_over_bernoulli_pairs() -> None:
    student, teacher = logits(0), logits(1)
    expected = []
    for s, u in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        p, q = 1 / (1 + math.exp(-s)), 1 / (1 + math.exp(-u))
        expected.append(kl([q, 1 - q], [p, 1 - p]))
    found = posterior_divergence_loss(student, teacher_logits=teacher, kind="kullback_leibler", head="regions")
    assert found.item() == pytest.approx(sum(expected) / len(expected))


def test_the_student_comes_first_in_the_pseudo_divergence() -> None:
    """At alpha = 1.1 it vanishes where the student is the teacher to the power of 10, not the reverse."""
    teacher = logits(1, scale=0.3)
    assert posterior_divergence_loss(10 * teacher, teacher_logits=teacher, kind="holder_pseudo").abs() < 1e-10
    assert posterior_divergence_loss(teacher / 10, teacher_logits=teacher, kind="holder_pseudo") > 1e-3


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_softmax_labels_are_the_limit_of_a_certain_teacher(kind: str) -> None:
    student = logits(2)
    labels = torch.randint(0, 3, (2, 2, 2, 2), generator=torch.Generator().manual_seed(0))
    certain = 200 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).double()
    expected = posterior_divergence_loss(student, teacher_logits=certain, kind=kind)
    for given in (labels, labels.unsqueeze(1), labels.to(torch.int16), labels.float()):
        torch.testing.assert_close(posterior_divergence_loss(student, labels=given, kind=kind), expected)


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_region_labels_are_the_limit_of_a_certain_teacher(kind: str) -> None:
    student = logits(2)
    inside = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) < 0.5
    certain = 200 * (2 * inside.double() - 1)
    expected = posterior_divergence_loss(student, teacher_logits=certain, kind=kind, head="regions")
    for given in (inside, inside.float(), inside.to(torch.uint8)):
        found = posterior_divergence_loss(student, labels=given, kind=kind, head="regions")
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_a_region_is_the_softmax_of_its_logit_and_0(kind: str) -> None:
    student, teacher = logits(3, (2, 1, 4)), logits(4, (2, 1, 4))
    of_pairs = posterior_divergence_loss(
        torch.cat((student, torch.zeros_like(student)), dim=1),
        teacher_logits=torch.cat((teacher, torch.zeros_like(teacher)), dim=1),
        kind=kind,
    )
    found = posterior_divergence_loss(student, teacher_logits=teacher, kind=kind, head="regions")
    torch.testing.assert_close(found, of_pairs)


@pytest.mark.parametrize("head", ["softmax", "regions"])
@pytest.mark.parametrize("target", ["teacher", "labels"])
def test_voxels_that_are_not_valid_do_not_count(head: str, target: str) -> None:
    student = logits(0).requires_grad_()
    valid = torch.rand((2, 2, 2, 2), generator=torch.Generator().manual_seed(1)) < 0.6
    outside = (~valid).unsqueeze(1)
    if target == "teacher":
        clean: dict[str, Any] = {"teacher_logits": logits(1)}
        dirty: dict[str, Any] = {"teacher_logits": logits(1).masked_fill(outside, NAN)}
    elif head == "softmax":
        labels = torch.randint(0, 3, (2, 1, 2, 2, 2), generator=torch.Generator().manual_seed(0))
        clean = {"labels": labels}
        dirty = {"labels": labels.masked_fill(outside, 255)}
    else:
        labels = torch.randint(0, 2, SHAPE, generator=torch.Generator().manual_seed(0))
        clean = {"labels": labels}
        dirty = {"labels": labels.masked_fill(outside, 255)}
    choices: dict[str, Any] = {"kind": "kullback_leibler", "head": head}
    expected = torch.stack(
        [
            posterior_divergence_loss(
                student[b : b + 1, :, x, y, z, None],
                **{k: v[b : b + 1, :, x, y, z, None] for k, v in clean.items()},
                **choices,
            )
            for b, x, y, z in valid.nonzero().tolist()
        ]
    ).mean()
    for mask in (valid, valid.unsqueeze(1), valid.double()):
        found = posterior_divergence_loss(student, **dirty, valid=mask, **choices)
        torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, student)
    assert (gradient.masked_select(outside) == 0).all()
    assert (gradient.masked_select(~outside) != 0).all()


def test_voxel_weights_weigh() -> None:
    student, teacher = logits(0, (1, 3, 2)), logits(1, (1, 3, 2))
    each = [
        posterior_divergence_loss(student[..., i], teacher_logits=teacher[..., i], kind="jensen_shannon")
        for i in (0, 1)
    ]
    found = posterior_divergence_loss(
        student, teacher_logits=teacher, kind="jensen_shannon", valid=torch.tensor([[0.5, 1.5]])
    )
    torch.testing.assert_close(found, (0.5 * each[0] + 1.5 * each[1]) / 2)


@pytest.mark.parametrize("head", ["softmax", "regions"])
def test_a_sample_of_weight_zero_is_left_out_whatever_its_teacher_holds(head: str) -> None:
    student, teacher = logits(0).requires_grad_(), logits(1)
    teacher[1] = NAN
    expected = posterior_divergence_loss(student[:1], teacher_logits=teacher[:1], kind="holder_proper", head=head)
    found = posterior_divergence_loss(
        student, teacher_logits=teacher, kind="holder_proper", head=head, sample_weights=torch.tensor([True, False])
    )
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, student)
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).any()


def test_sample_weights_and_valid_multiply() -> None:
    student, teacher = logits(0), logits(1)
    valid = torch.zeros(2, 2, 2, 2, dtype=torch.bool)
    valid[:, 0, 0, 0] = True
    found = posterior_divergence_loss(
        student, teacher_logits=teacher, kind="holder_proper", valid=valid, sample_weights=torch.tensor([0.0, 1.0])
    )
    expected = posterior_divergence_loss(
        student[1:, :, 0, 0, 0], teacher_logits=teacher[1:, :, 0, 0, 0], kind="holder_proper"
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("head", ["softmax", "regions"])
def test_if_nothing_counts_the_loss_is_a_zero_that_keeps_the_graph(kind: str, head: str) -> None:
    student = logits(0).requires_grad_()
    loss = posterior_divergence_loss(
        student, teacher_logits=torch.full(SHAPE, NAN), kind=kind, head=head, sample_weights=torch.zeros(2)
    )
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert (student.grad == 0).all()


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_adding_a_constant_to_the_logits_of_a_voxel_changes_nothing(kind: str) -> None:
    student, teacher = logits(0), logits(1)
    shift = logits(2, (2, 1, 2, 2, 2))
    torch.testing.assert_close(
        posterior_divergence_loss(student + shift, teacher_logits=teacher, kind=kind),
        posterior_divergence_loss(student, teacher_logits=teacher, kind=kind),
    )


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    posterior_divergence_loss(student, teacher_logits=teacher, kind="holder_proper").backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("head", ["softmax", "regions"])
def test_gradient_is_right(kind: str, head: str) -> None:
    student, teacher = logits(0, (2, 3, 2)).requires_grad_(), logits(1, (2, 3, 2))
    valid = torch.tensor([[True, False], [True, True]])
    labels = torch.tensor([[0, 255], [2, 1]]) if head == "softmax" else (teacher > 0)
    loss = PosteriorDivergenceLoss(kind, head=head, temperature=1.5)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher_logits=teacher, valid=valid), (student,))
    loss = PosteriorDivergenceLoss(kind, head=head)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels=labels, valid=valid), (student,))


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [(kind, {}) for kind in DIVERGENCES]
    + [(kind, {"alpha": alpha}) for kind in ("holder_pseudo", "holder_proper") for alpha in (0.5, 1.01, 20.0)],
)
@pytest.mark.parametrize("head", ["softmax", "regions"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_half_precision_logits_give_finite_values_and_gradients(
    dtype: torch.dtype, head: str, kind: str, parameters: dict[str, Any]
) -> None:
    corners = torch.tensor([-80.0, 0.0, 80.0])
    student = torch.cartesian_prod(corners, corners, corners).T[None].to(dtype)  # (1, 3, 27)
    for roll in (0, 1, 13):
        given = student.clone().requires_grad_()
        teacher = student.roll(roll, dims=2)
        index = teacher.argmin(1)
        labels = index if head == "softmax" else teacher > 0
        targets: list[dict[str, Any]] = [{"teacher_logits": teacher}]
        if parameters.get("alpha", 2.0) > 1:
            targets.append({"labels": labels})
        for target in targets:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = posterior_divergence_loss(given, **target, kind=kind, head=head, **parameters)
            (gradient,) = torch.autograd.grad(loss, given)
            assert loss.dtype == torch.float32
            assert loss.isfinite()
            assert loss > -1e-4
            assert gradient.isfinite().all()


def test_certain_and_wrong_students_still_learn_from_labels() -> None:
    """In probability space p^11 and log p of a certain, wrong student underflow and the gradient is lost."""
    student = torch.tensor([[80.0, -80.0]], dtype=torch.float16, requires_grad=True)
    for kind in ("holder_pseudo", "holder_proper", "kullback_leibler", "neyman_chi_squared"):
        (gradient,) = torch.autograd.grad(
            posterior_divergence_loss(student, labels=torch.tensor([1]), kind=kind), student
        )
        assert gradient[0, 1] < -0.5


def test_module_equals_function_and_names_its_choices() -> None:
    student, teacher = logits(0), logits(1)
    loss = PosteriorDivergenceLoss("holder_proper", head="regions", temperature=2.0, alpha=1.5, gamma=1.0)
    expected = posterior_divergence_loss(
        student, teacher_logits=teacher, kind="holder_proper", head="regions", temperature=2.0, alpha=1.5, gamma=1.0
    )
    torch.testing.assert_close(loss(student, teacher_logits=teacher), expected)
    assert repr(loss) == (
        "PosteriorDivergenceLoss('holder_proper', head='regions', temperature=2.0, alpha=1.5, gamma=1.0)"
    )
    assert not list(loss.parameters())


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"kind": "holder"}, "choose one of holder_pseudo"),
        ({"kind": "holder_pseudo", "alpha": 1.0}, "alpha of a Hölder divergence"),
        ({"kind": "holder_proper", "gamma": 0.0}, "gamma of a proper"),
        ({"kind": "kullback_leibler", "alpha": 2.0}, r"got \['alpha'\]"),
        ({"kind": "kullback_leibler", "head": "sigmoid"}, "choose one of softmax, regions"),
        ({"kind": "kullback_leibler", "temperature": 0.0}, r"above 0, got 0\.0"),
    ],
)
def test_wrong_choices_are_refused_at_construction(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PosteriorDivergenceLoss(**choices)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one"),
        ({"teacher_logits": logits(1), "labels": torch.zeros(2, 2, 2, 2)}, "exactly one"),
        ({"teacher_logits": logits(1)[:1]}, "one shape"),
        ({"labels": torch.zeros(2, 3, 2, 2, 2)}, "Labels must have shape"),
        ({"labels": torch.zeros(2, 2, 2, 2), "head": "regions"}, "Region labels must have shape"),
        ({"labels": torch.zeros(2, 2, 2, 2), "temperature": 2.0}, "for labels it must be 1"),
        ({"teacher_logits": logits(1), "valid": torch.ones(2, 2)}, "valid must have shape"),
        ({"teacher_logits": logits(1), "sample_weights": torch.ones(3)}, "sample_weights must have shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        posterior_divergence_loss(logits(0), kind="holder_proper", **arguments)
