"""``plan`` and ``preprocess`` run nnU-Net's own commands with their options."""

from __future__ import annotations

import argparse
import json
import shutil
import sys

import pytest

from nnunet_missingmod.cli import main
from nnunet_missingmod.commands import planning
from nnunet_missingmod.planning.in_memory import SEARCHED


@pytest.fixture(autouse=True)
def nothing_stays_in_memory():
    """What is put into nnU-Net's modules is taken out again."""
    yield
    for module in SEARCHED:
        vars(module).pop("__getattr__", None)


@pytest.fixture
def called(monkeypatch):
    """Record what nnU-Net's commands are called with in place of calling them."""
    words = []

    class Recorded:
        def load(self):
            return lambda: words.append(list(sys.argv))

    monkeypatch.setattr(planning, "_command", lambda name: Recorded())
    return words


EXTRACTOR = ["-fpe", "MissingModFingerprintExtractor"]
PREPROCESSOR = ["-preprocessor_name", "MissingModPreprocessor"]


def test_options_go_to_nnunet_with_ours_where_they_are_needed_and_none_is_given(called, make_tiny_dataset):
    before = list(sys.argv)
    tiny = make_tiny_dataset(num_cases=2)
    assert main(["plan", "-d", "901", "-c", "2d", "--clean"]) == 0
    tiny.image("case_000", 1).unlink()
    assert main(["plan", "-c", "2d", "-d", "901"]) == 0
    assert main(["plan", "-d", "901", "-fpe", "Theirs", "-preprocessor_name=Other", "--verbose"]) == 0
    assert main(["preprocess", "-d", "901", "-plans_name", "X"]) == 0
    assert sys.argv == before
    plan = "nnUNetv2_plan_and_preprocess"
    assert called == [
        [plan, "-d", "901", "-c", "2d", "--clean", *EXTRACTOR],
        [plan, "-c", "2d", "-d", "901", *EXTRACTOR, *PREPROCESSOR],
        [plan, "-d", "901", "-fpe", "Theirs", "-preprocessor_name=Other", "--verbose"],
        ["nnUNetv2_preprocess", "-d", "901", "-plans_name", "X"],
    ]


@pytest.mark.parametrize("words", [["-d=901"], ["-c", "2d", "-d=901"], ["-d", "1", "-d", "901"], ["-d", "1", "901"]])
def test_incomplete_cases_get_our_preprocessor_however_the_dataset_is_named(words, called, make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=2)
    shutil.copytree(tiny.raw, tiny.raw.with_name("Dataset001_Complete"))
    tiny.image("case_000", 1).unlink()
    assert main(["plan", *words]) == 0
    assert called == [["nnUNetv2_plan_and_preprocess", *words, *EXTRACTOR, *PREPROCESSOR]]


@pytest.mark.parametrize(
    "given", [["-preprocessor_name", "DefaultPreprocessor"], ["-preprocessor_name=DefaultPreprocessor"]]
)
def test_incomplete_cases_are_not_planned_for_the_hosts_preprocessor(given, called, capsys, make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=2)
    assert main(["plan", "-d", "901", *given]) == 0
    tiny.image("case_000", 1).unlink()
    assert main(["plan", "-d", "901", *given]) == 2
    assert "cases of dataset 901 lack files, and DefaultPreprocessor would take" in capsys.readouterr().err
    assert len(called) == 1


def test_incomplete_cases_are_not_preprocessed_by_the_hosts_preprocessor(called, capsys, make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=2)
    of_2d = tiny.plans["configurations"]["2d"]
    of_2d["preprocessor_name"] = "DefaultPreprocessor"
    (tiny.preprocessed / "Mine.json").write_text(json.dumps(tiny.plans))
    words = ["preprocess", "-d=901", "-plans_name", "Mine", "-c", "2d"]
    assert main(words) == 0
    tiny.image("case_000", 1).unlink()
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "cases of dataset 901 lack files, and Mine lets DefaultPreprocessor take their" in said
    assert '(2d). Plan again (nnunet_missingmod plan -d 901), or set "preprocessor_name": "MissingModPrepro' in said
    of_2d["preprocessor_name"] = "MissingModPreprocessor"
    (tiny.preprocessed / "Mine.json").write_text(json.dumps(tiny.plans))
    assert main(words) == 0
    assert len(called) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-d", "901", "-p", "X"], "unrecognized arguments: -p X"),
        (["-c", "2d"], "Say which dataset, by its number: -d 123"),
        (["-d", "901", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["-d", "901", "--verb"], "unrecognized arguments: --verb"),
        (["-d", "-c", "2d"], "does not take -d -c 2d: see nnUNetv2_"),
        (["-d", "five"], "does not take -d five: see nnUNetv2_"),
        (["-d", "901", "-np", "many"], "does not take -d 901 -np many: see nnUNetv2_"),
    ],
)
@pytest.mark.parametrize("name", ["plan", "preprocess"])
def test_wrong_usage_starts_nothing(name, words, said, capsys, make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=1)
    before = sorted(tiny.preprocessed.rglob("*"))
    parse = argparse.ArgumentParser.parse_known_args
    assert main([name, *words]) == 2
    assert said in capsys.readouterr().err
    assert sorted(tiny.preprocessed.rglob("*")) == before
    assert argparse.ArgumentParser.parse_known_args is parse


def test_what_stops_nnunet_is_said_in_one_line(capsys, make_tiny_dataset):
    make_tiny_dataset(num_cases=1)
    assert main(["preprocess", "-d", "901", "-plans_name", "Other"]) == 1
    said = capsys.readouterr().err
    assert "nnUNetv2_preprocess failed: " in said
    assert "Other" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["plan", "preprocess"])
def test_a_dataset_or_a_folder_that_is_not_there_is_wrong_usage(name, capsys, monkeypatch, make_tiny_dataset):
    make_tiny_dataset(num_cases=1)
    assert main([name, "-d", "777"]) == 2
    assert "There is no dataset Dataset777_* in " in capsys.readouterr().err
    for variable in ("nnUNet_preprocessed", "nnUNet_raw"):
        monkeypatch.delenv(variable)
        assert main([name, "-d", "901"]) == 2
        assert f"{variable} is not set" in capsys.readouterr().err


def test_the_help_names_nnunet_s_command_and_what_is_put_in(capsys):
    assert main(["plan", "-h"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "All options are those of nnUNetv2_plan_and_preprocess" in said
    assert "Unless given, -fpe MissingModFingerprintExtractor is added, and where a training case lacks files" in said
