"""The command from arguments to exit code: 0 where nothing leaks, 1 where something does, 2 where it cannot start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnunet_missingmod.cli import main
from nnunet_missingmod.evaluation.scores import ScoreRow, write_scores
from nnunet_missingmod.inference import model_audit

STORED = Path(__file__).parents[1] / "contracts" / "stored_models" / "medmap"


def put_scores(file, models=("m",)):
    rows = [
        ScoreRow(model, "0", "a", subset, subset.count("+") + 1, "WT", dice, 1, 1, 1, 9, 9, 30)
        for model in models
        for subset, dice in {"FLAIR": 0.8, "T1": 0.5, "FLAIR+T1": 0.7}.items()
    ]
    write_scores(rows, file)


def test_a_model_that_leaks_nothing_gets_0_a_table_and_a_report(tmp_path, capsys):
    put_scores(tmp_path / "scores.csv", ("m", "n"))
    out = tmp_path / "out"
    assert main(["audit", str(STORED), "-o", str(out), "--scores", f"n={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Audit of medmap (nnUNetTrainerMedMAP)\n")
    assert said.splitlines()[-1].startswith("No leak found: ")
    assert "most often where T1 is added (100.0 % of 1)" in " ".join(said.split())
    content = json.loads((out / "audit.json").read_text())
    assert not content["leaks"]
    assert {each["check"]: each["number"] for each in content["findings"]}["more"] == 0.5
    assert "| content | pass | 0 |" in (out / "audit.md").read_text()


def test_a_model_that_leaks_gets_1_and_json_is_all_that_is_printed(make_tiny_dataset, make_model, capsys):
    folder = make_model(make_tiny_dataset(("T1", "T2"), num_cases=1), "nnUNetTrainerBN", configuration="2d")
    capsys.readouterr()
    assert main(["audit", "-m", str(folder), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    failed = [(each["check"], each["mode"]) for each in content["findings"] if each["result"] == "fail"]
    assert failed == [("batch", "training")]
    assert content["verdict"] == "It leaks: batch (training)."


@pytest.fixture
def never(monkeypatch):
    def audited(*_args, **_more):
        raise AssertionError("It started.")

    monkeypatch.setattr(model_audit, "audit_model_folder", audited)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Give a model folder (-m), or -d and -c and -tr too."),
        (["nomodel"], "There is no model folder nomodel."),
        (["x", "-m", "y"], "Give one model folder: FOLDER or -m FOLDER."),
        ([str(STORED), "-d", "1"], "not both"),
        ([str(STORED), "-f", "0", "0"], "names fold 0 twice"),
        ([str(STORED), "-i", "nowhere"], "There is no folder nowhere."),
        ([str(STORED), "--scores", "nowhere.csv"], "There is no file nowhere.csv: give --scores the scores.csv"),
        ([str(STORED), "--scores", "x=scores.csv"], "There are no scores of 'x', only of m, n."),
        ([str(STORED), "--scores", "scores.csv"], "The scores are of m, n: say which is this one, as NAME=FILE."),
    ],
)
def test_wrong_usage_gets_2_before_anything_is_audited(tmp_path, monkeypatch, capsys, never, arguments, said):
    monkeypatch.chdir(tmp_path)
    put_scores(Path("scores.csv"), ("m", "n"))
    assert main(["audit", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_is_no_model_gets_2(tmp_path, capsys):
    assert main(["audit", str(tmp_path)]) == 2
    assert "is not a model folder of nnU-Net" in capsys.readouterr().err
