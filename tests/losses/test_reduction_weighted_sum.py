"""Named terms to one scalar."""

from __future__ import annotations

import pytest
import torch

from nnunet_missingmod.losses.reduction import warmup_weight, weighted_sum


def test_it_is_the_weighted_sum() -> None:
    terms = {"segmentation": torch.tensor(2.0), "alignment": torch.tensor(3.0)}
    assert weighted_sum(terms, {"alignment": 0.125, "segmentation": 1.0}).item() == 2.375


def test_each_term_gets_its_weight_as_gradient_and_weight_zero_stays_in_the_graph() -> None:
    terms = {"a": torch.tensor(2.0, requires_grad=True), "b": torch.tensor(3.0, requires_grad=True)}
    weighted_sum(terms, {"a": 0.5, "b": 0.0}).backward()
    assert terms["a"].grad == 0.5
    assert terms["b"].grad == 0.0


@pytest.mark.parametrize("weights", [{"a": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.0, "c": 1.0}])
def test_names_on_one_side_only_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"no weight for .*'?b?'?.* no term for"):
        weighted_sum({"a": torch.tensor(1.0), "b": torch.tensor(1.0)}, weights)


def test_the_refusal_names_the_missing_ones() -> None:
    with pytest.raises(ValueError, match=r"no weight for \['b'\], no term for \['c'\]"):
        weighted_sum({"a": torch.tensor(1.0), "b": torch.tensor(1.0)}, {"a": 1.0, "c": 1.0})


def test_no_term_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one term"):
        weighted_sum({}, {})


def test_a_term_that_is_not_a_scalar_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'a' must be a scalar, got shape \(2,\)"):
        weighted_sum({"a": torch.ones(2)}, {"a": 1.0})


@pytest.mark.parametrize(
    ("step", "warmup_steps", "expected"), [(0, 10, 0.0), (5, 10, 1.0), (10, 10, 2.0), (99, 10, 2.0), (0, 0, 2.0)]
)
def test_warm_up_is_linear_from_zero(step: int, warmup_steps: int, expected: float) -> None:
    assert warmup_weight(2.0, step, warmup_steps) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "warmup_steps"), [(-1, 10), (0, -1)])
def test_negative_steps_are_refused(step: int, warmup_steps: int) -> None:
    with pytest.raises(ValueError, match="counted from 0"):
        warmup_weight(1.0, step, warmup_steps)
