"""Costs as ratios to the baseline's, where they can be compared."""

from __future__ import annotations

from dataclasses import replace

from nnunet_missingmod.evaluation.costs import Cost, cost_ratios

STOCK = Cost(parameters=100, folds=1, seconds=2.0, peak_bytes=400, voxels=(8, 8, 8), device="cpu")


def test_ratios_are_to_the_baseline_and_models_keep_their_order():
    ours = replace(STOCK, parameters=150, seconds=1.0, peak_bytes=100)
    first, second = cost_ratios({"ours": ours, "stock": STOCK}, "stock")
    assert (first.model, first.parameters, first.seconds, first.peak_bytes) == ("ours", 1.5, 0.5, 0.25)
    assert (second.model, second.parameters, second.seconds, second.peak_bytes) == ("stock", 1.0, 1.0, 1.0)


def test_time_and_memory_of_another_machine_or_another_case_are_not_compared():
    for other in (replace(STOCK, device="gpu"), replace(STOCK, voxels=(8, 8, 9))):
        _, ratio = cost_ratios({"stock": STOCK, "other": other}, "stock")
        assert (ratio.parameters, ratio.seconds, ratio.peak_bytes) == (1.0, None, None)


def test_what_was_not_measured_has_no_ratio():
    (alone,) = cost_ratios({"ours": replace(STOCK, peak_bytes=None)}, "stock")
    assert (alone.parameters, alone.seconds, alone.peak_bytes) == (None, None, None)
    _, unknown = cost_ratios({"stock": STOCK, "ours": replace(STOCK, peak_bytes=None)}, "stock")
    assert (unknown.seconds, unknown.peak_bytes) == (1.0, None)
    assert cost_ratios({}, "stock") == []
