"""What is known of an evaluation: every case once, those of a part or without the refused ones, of every model."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_missingmod.benchmarking.cases import EvaluationCase, EvaluationSet
from nnunet_missingmod.benchmarking.progress import Progress, channels_of
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.evaluation.scores import ScoreRow


def case(name, *channels):
    return EvaluationCase(name, {channel: Path(f"{name}_{channel}") for channel in channels}, Path(f"{name}.nii"))


def score(name):
    return ScoreRow("S", "", name, "T1", 1, "whole", 0.5, 1.0, 0.5, 1.0, 10, 10, 30.0)


@pytest.fixture
def progress():
    of_folds = [EvaluationSet((0,), [case("b", 0)], {}), EvaluationSet((1,), [case("a", 0, 1)], {"x": "why"})]
    sets = {"ours": of_folds, "A": [EvaluationSet((), [case("a", 0, 1), case("b", 0)], {}, ("a note",))]}
    return Progress(sets=sets, rows={"S": [score("a"), score("b"), score("c")]})


def test_every_case_is_there_once_by_name(progress):
    assert list(progress.cases()) == ["a", "b"]
    assert progress.names() == ("a", "b")


def test_scores_alone_name_the_cases_where_there_are_no_others(progress):
    progress.sets.clear()
    assert progress.names() == ("a", "b", "c")


def test_what_is_left_out_is_left_out_of_every_model(progress):
    progress.drop({"a": "its reference: torn"})
    assert progress.names() == ("b",)
    assert [len(each.cases) for sets in progress.sets.values() for each in sets] == [1, 0, 1]
    assert [row.case for row in progress.rows["S"]] == ["b"]
    assert progress.failures == ["case a: its reference: torn"]
    progress.keep(())
    assert progress.names() == ()


def test_a_picture_in_one_file_has_every_modality():
    names = ("R", "G", "B")
    picture = Task(names, {"x": (1,)}, None, ".png", (0, 1), "NaturalImage2DIO")
    volume = Task(names, {"x": (1,)}, None, ".nii.gz", (0, 1), "SimpleITKIO")
    assert channels_of(case("a", 0), picture) == {0, 1, 2}
    assert channels_of(case("a", 0, 2), picture) == {0, 2}
    assert channels_of(case("a", 0), volume) == {0}


def test_cases_that_not_every_model_has_are_said(progress, caplog):
    progress.sets["ours"] = progress.sets["ours"][:1]
    progress.warn()
    assert caplog.messages == ["A: a note", "1 of 2 cases are not those of every model: comparisons use the others."]
