"""Advice names the modality that gained most where it was measured, and says how sure that is."""

from __future__ import annotations

import errno

import pytest

from nnunet_missingmod.cli import main
from nnunet_missingmod.evaluation.model_card import FILE_NAME, make_card, write_card
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.modalities import subset_name

NAMES = ("FLAIR", "T1", "T2")
MEANS = {"FLAIR": 0.7, "T1": 0.3, "T2": 0.5, "FLAIR+T1": 0.75, "FLAIR+T2": 0.9, "T1+T2": 0.49, "FLAIR+T1+T2": 0.9}


def put_card(folder, means=MEANS, spread=0.01):
    rows = [
        ScoreRow(
            "m",
            "0",
            f"case{copy}{case}",
            subset,
            subset.count("+") + 1,
            "WT",
            dice + spread * case * subset.count("+"),
            *(1, 1, 1, 9, 9, 30),
        )
        for subset, dice in means.items()
        for case in (-1, 0, 1)
        for copy in "ab"  # from six patients on there are intervals
    ]
    write_card(make_card(rows, modalities=NAMES, provenance={"cases": "test folder x"}), folder / FILE_NAME)


def advise(folder, *present):
    return main(["advise", "-m", str(folder), "--present", *present])


def test_the_modality_that_gained_most_comes_first(tmp_path, capsys):
    put_card(tmp_path)
    assert advise(tmp_path, "t1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "T1: expected Dice WT 30.0 (30.0 to 30.0)"
    assert "95 % interval" in lines[1]
    assert lines[2].split()[:2] == ["FLAIR", "+45.0"]
    assert lines[3].split()[:2] == ["T2", "+19.0"]
    assert lines[4] == "FLAIR would gain most."
    assert lines[5] == "Measured on 6 cases: test folder x."


def test_a_pretraining_has_no_accuracy_to_wait_for(tmp_path, capsys):
    folder = tmp_path / "nnUNetTrainerMaskedPretraining__nnUNetPlans__2d"
    folder.mkdir()
    assert advise(folder, "t1") == 2
    assert "only pretrains. Ask the model that started from it." in capsys.readouterr().err


def test_names_may_be_joined_or_not(tmp_path, capsys):
    put_card(tmp_path)
    assert advise(tmp_path, "T2", "T1") == 0
    apart = capsys.readouterr().out
    assert advise(tmp_path, "T1+T2") == 0
    assert capsys.readouterr().out == apart


def test_a_gain_whose_interval_holds_zero_is_called_unsure(tmp_path, capsys):
    put_card(tmp_path, {**MEANS, "FLAIR+T2": 0.703, "FLAIR+T1": 0.702})
    advise(tmp_path, "FLAIR")
    assert "T2 would gain most on average, but its interval does not exclude 0." in capsys.readouterr().out


def test_where_nothing_gains_it_says_so(tmp_path, capsys):
    put_card(tmp_path, {**MEANS, "FLAIR+T2": 0.6, "FLAIR+T1": 0.5})
    advise(tmp_path, "FLAIR")
    assert "No further modality gains anything on average." in capsys.readouterr().out


def test_with_everything_there_nothing_is_missing(tmp_path, capsys):
    put_card(tmp_path)
    assert advise(tmp_path, *NAMES) == 0
    assert capsys.readouterr().out.splitlines()[1] == "Nothing is missing."


def test_a_gain_that_was_not_measured_is_not_made_up(tmp_path, capsys):
    put_card(tmp_path, {"FLAIR": 0.7, "T1": 0.3})
    assert advise(tmp_path, "FLAIR") == 0
    assert "was not measured" in capsys.readouterr().out


def test_a_model_folder_that_does_not_exist_is_wrong_usage(tmp_path, capsys):
    assert advise(tmp_path / "nomodel", "T1") == 2
    assert f"There is no model folder {tmp_path / 'nomodel'}." in capsys.readouterr().err


def test_without_a_card_the_command_that_makes_one_is_named(tmp_path, capsys):
    assert advise(tmp_path, "T1") == 2
    assert "evaluate the model first" in capsys.readouterr().err


def test_a_card_that_is_a_folder_is_said_to_be_one(tmp_path, capsys):
    (tmp_path / FILE_NAME).mkdir()
    assert advise(tmp_path, "T1") == 2
    assert f"{tmp_path / FILE_NAME} is a folder, not a model card" in capsys.readouterr().err


def test_a_model_folder_that_may_not_be_read_is_said_so(tmp_path, capsys, monkeypatch):
    def refused(*_args, **_more):
        raise PermissionError(errno.EACCES, "Permission denied", "card")

    monkeypatch.setattr("pathlib.Path.read_text", refused)
    assert advise(tmp_path, "T1") == 2
    assert "Permission denied" in capsys.readouterr().err


def test_names_that_look_like_something_else_are_escaped(tmp_path, capsys):
    names = ("-x", "T1+C")
    rows = [
        ScoreRow("m", "0", f"case{case}", subset_name(subset, names), len(subset), "WT", dice, *(1, 1, 1, 9, 9, 30))
        for subset, dice in (((0,), 0.5), ((1,), 0.6), ((0, 1), 0.8))
        for case in (0, 1)
    ]
    write_card(make_card(rows, modalities=names, provenance={}), tmp_path / FILE_NAME)
    assert advise(tmp_path, r"\-x") == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:2] == ["T1+C", "+30.0"]
    assert advise(tmp_path, r"T1\+C") == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:2] == ["-x", "+20.0"]
    assert advise(tmp_path, r"\-x+T1\+C") == 0
    assert "Nothing is missing." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--present", "T9"], "'T9' is no modality"),
        (["--present", "T1", "-d", "1"], "Give a model folder"),
    ],
)
def test_wrong_usage(tmp_path, capsys, arguments, message):
    put_card(tmp_path)
    assert main(["advise", "-m", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_of_what_was_not_evaluated_nothing_is_known(tmp_path, capsys):
    put_card(tmp_path, {name: dice for name, dice in MEANS.items() if "T1" in name})
    assert advise(tmp_path, "T2") == 0
    said = capsys.readouterr().out
    assert said == "Nothing is known of T2: no case of the evaluation has it, or the model was trained on none of it.\n"
