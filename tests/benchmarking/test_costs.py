"""A model's cost is measured on the first complete case, kept, and measured again when something changed."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

from nnunet_missingmod.benchmarking import costs as module
from nnunet_missingmod.benchmarking.cases import validation_sets
from nnunet_missingmod.benchmarking.costs import find_costs
from nnunet_missingmod.benchmarking.network_store import save_costs, saved_costs, saved_records
from nnunet_missingmod.benchmarking.request import request_of
from nnunet_missingmod.commands.evaluate import add_arguments


@pytest.fixture
def measured(two_fold_dataset, make_model, tmp_path):
    """A request of one model, the cases of its folds, and its record."""
    folder = make_model(two_fold_dataset, "nnUNetTrainerMedMAP", folds=(0, 1))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = [f"ours={folder}", "-o", str(tmp_path / "out"), "--device", "cpu", "--disable_tta"]
    request = request_of(parser.parse_args(arguments), "the command")
    sets = {"ours": validation_sets(folder, (0, 1), checkpoint_name="checkpoint_final.pth")}
    return request, sets, find_costs(request, sets, {})


def test_the_cost_is_kept_until_something_that_decides_it_changes(measured, monkeypatch, tmp_path):
    request, sets, records = measured
    save_costs(records, tmp_path)
    cost = saved_costs(tmp_path, ["other", "ours"])["ours"]
    assert cost.folds == 1  # each fold predicts its own validation cases
    assert cost.parameters > 1000
    assert cost.seconds > 0

    def never(*_):
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr(module, "measure_cost", never)
        assert find_costs(request, sets, saved_records(tmp_path)) == saved_records(tmp_path)
        other_settings = replace(request, settings=replace(request.settings, tile_step_size=1.0))
        assert find_costs(other_settings, sets, records) == {}  # tried, and the failure costs nothing else
