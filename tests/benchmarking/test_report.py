"""What is shown is chosen by a rule, and a card is written only where it would be whole and can be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nnunet_missingmod.benchmarking.parts import Part, ReportOptions, Rows, Shared
from nnunet_missingmod.benchmarking.report import hardest_of_each_size, spread_cases, write_evaluation
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.evaluation.conventions import BRATS
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import all_subsets, subset_name

TASK = Task(("T1", "T2", "T3"), {"tumour": (1,)}, None, ".nii.gz", (0, 1), "SimpleITKIO")
EVERY = all_subsets(3)


def row(case, subset, dice, *, model="m", reference=10):
    name = subset_name(subset, TASK.modalities)
    return ScoreRow(model, "0", case, name, len(subset), "tumour", dice, 1.0, 0.5, 1.0, reference, 10, 30.0)


def some_rows(model="m"):
    return [
        row(f"case{index}", subset, 0.1 * index + 0.1 * len(subset) - 0.01 * subset[0], model=model)
        for index in range(5)
        for subset in EVERY
    ]


def evaluation(tmp_path, subsets, *models, options=None, **more):
    """An evaluation that is whole, its models' folders made."""
    for model in models:
        (tmp_path / model).mkdir(exist_ok=True)
    shared = Shared(
        task=TASK,
        subsets=tuple(subsets),
        models={model: str(tmp_path / model) for model in models},
        outside=more.pop("outside", {}),
        tolerance_mm=1.0,
        label_map={},
        settings={},
        cases=tuple(f"case{index}" for index in range(5)),
    )
    weights = {model: {"0": f"weights of {model}"} for model in models}
    whole = Part(0, 1, shared, options or ReportOptions(), "the command", "some cases", {}, shared.cases)
    return replace(whole, weights=weights, finished=True, **more)


def write(tmp_path, rows, subsets, *models, **more):
    failures = []
    whole = evaluation(tmp_path, subsets, *models, **more)
    return write_evaluation(whole, Rows(rows, []), tmp_path, failures), failures


def test_the_hardest_subset_of_each_size_is_shown():
    assert hardest_of_each_size(some_rows(), EVERY, TASK, BRATS) == [(2,), (1, 2), (0, 1, 2)]
    assert hardest_of_each_size(some_rows(), [(0,), (1,), (0, 1, 2)], TASK, BRATS) == [(1,), (0, 1, 2)]


def test_cases_at_the_quartiles_are_shown():
    assert spread_cases(some_rows(), BRATS) == ["case1", "case2", "case3"]
    assert spread_cases([row("only", (0,), 0.5)], BRATS) == ["only"]


def test_cases_without_a_region_are_shown_only_if_there_are_no_others():
    empty = [row("empty", (0,), 0.0, reference=0)]
    assert spread_cases([*empty, row("full", (0,), 0.5)], BRATS) == ["full"]
    assert spread_cases(empty, BRATS) == ["empty"]


def test_each_model_gets_its_own_card(tmp_path, numbers_only):
    lines, failures = write(tmp_path, [*some_rows("a"), *some_rows("b")], EVERY, "a", "b")
    assert failures == []
    for model in ("a", "b"):
        card = read_card(tmp_path / model / FILE_NAME)
        assert card.model == model
        assert card.provenance["weights"] == {"0": f"weights of {model}"}
        assert card.provenance["command"] == "the command"
        assert card.expected(["T3"]).regions["tumour"].mean == pytest.approx(0.28)
    assert numbers_only[0]["pairs"] == [("b", "a")]
    assert numbers_only[0]["margin"] is None
    assert any(line.startswith("Warning: 5 cases of 5 patients are fewer than 50") for line in lines)
    assert any(line.endswith("probability that this order is chance: 0.500") for line in lines)
    assert any("1 of 3" in line for line in lines)


def test_some_subsets_make_a_table_and_no_card(tmp_path, numbers_only):
    subsets = [(0,), (0, 1)]
    names = [subset_name(subset, TASK.modalities) for subset in subsets]
    lines, failures = write(tmp_path, [each for each in some_rows("a") if each.subset in names], subsets, "a")
    assert failures == []
    assert not (tmp_path / "a" / FILE_NAME).exists()
    assert any("T1+T2" in line for line in lines)


def test_a_card_that_cannot_be_written_is_a_failure_by_name(tmp_path, numbers_only):
    (tmp_path / "a" / FILE_NAME).mkdir(parents=True)
    _, failures = write(tmp_path, some_rows("a"), EVERY, "a")
    assert "a: its card cannot be written" in failures[0]


def test_a_model_from_outside_is_named_in_the_provenance_and_gets_no_card(tmp_path, numbers_only):
    rows = [*some_rows("a"), *some_rows("b (outside)")]
    options = ReportOptions(baseline="b (outside)", prevalence={(0,): 1.0})
    lines, failures = write(tmp_path, rows, EVERY, "a", outside={"b (outside)": "there"}, options=options)
    assert failures == []
    assert (tmp_path / "a" / FILE_NAME).is_file()
    assert numbers_only[0]["provenance"]["b (outside) is from outside"] == "there"
    assert numbers_only[0]["provenance"]["prevalence"] == "T1 1"
    assert numbers_only[0]["pairs"] == [("a", "b (outside)")]
    assert lines[0].endswith("| average weighted by prevalence |")


def test_an_evaluation_of_which_parts_are_missing_makes_no_card(tmp_path, numbers_only):
    failures = []
    some = replace(evaluation(tmp_path, EVERY, "a"), finished=False)
    write_evaluation(some, Rows(some_rows("a"), []), tmp_path, failures)
    assert not (tmp_path / "a" / FILE_NAME).exists()
