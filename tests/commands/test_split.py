"""``split`` writes folds where nnU-Net reads them, never over others unasked, and says what they hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnunet_missingmod.cli import main


@pytest.fixture
def tiny(make_tiny_dataset):
    """Twelve cases of which three have the second modality."""
    dataset = make_tiny_dataset(names=("T1", "T2"), num_cases=12)
    for case in dataset.cases[3:]:
        dataset.image(case, 1).unlink()
    return dataset


def test_folds_are_written_where_nnunet_reads_them_and_described(tiny, capsys):
    target = tiny.preprocessed / "splits_final.json"
    target.unlink(missing_ok=True)
    assert main(["split", "-d", "901", "--num_folds", "3"]) == 0
    said = capsys.readouterr().out
    assert said.count("validates 4 cases; with T1 4, T2 1") == 3
    assert said.endswith(f"Saved as {target}.\n")
    folds = json.loads(target.read_text())
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(tiny.cases)


def test_folds_that_are_there_stay_unless_one_asks(tiny, capsys):
    target = tiny.preprocessed / "splits_final.json"
    target.write_text("mine")
    assert main(["split", "901", "--num_folds", "3"]) == 2
    assert "models may have been trained by it: give --replace" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert main(["split", "901", "--num_folds", "3", "--replace"]) == 0
    assert json.loads(target.read_text())[0].keys() == {"train", "val"}


def test_too_few_cases_of_a_modality_are_named(tiny, capsys, tmp_path):
    file = tmp_path / "folds.json"
    assert main(["split", "901", "--num_folds", "5", "--file", str(file)]) == 1
    said = capsys.readouterr().out
    assert said.count("validates no case with T2.\n") == 2
    assert said.count("Too few patients have T2 (3): take fewer folds.\n") == 1
    assert len(json.loads(file.read_text())) == 5


def test_what_one_patient_alone_has_is_not_for_want_of_fewer_folds(tiny, capsys):
    for case in tiny.cases[1:3]:
        tiny.image(case, 1).unlink()
    assert main(["split", "901", "--num_folds", "2", "--replace"]) == 1
    said = capsys.readouterr().out
    assert "One patient alone has T2: a fold trains on it or validates it, and none can do both." in said
    assert "fewer folds" not in said


def test_folds_that_cannot_be_are_not_called_too_few_patients(make_tiny_dataset, capsys):
    tiny = make_tiny_dataset(names=("T1", "T2", "T1ce"), num_cases=3)
    for channel, case in enumerate(tiny.cases):
        tiny.image(case, channel).unlink()
    assert main(["split", "901", "--num_folds", "2", "--replace"]) == 1
    said = capsys.readouterr().out
    assert "Too few" not in said
    assert "No folds with every modality in each were found: take fewer folds, or another --seed." in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["901", "-d", "901"], "Give one dataset"),
        (["901", "--num_folds", "1"], "12 patients cannot be split into 1 folds: give 2 to 12 folds"),
        (["901", "--patients", "case_(.)"], "cannot be split into 5 folds"),
        (["901", "--patients", "case_(.)"], "One patient alone (0)"),
        (["901", "--patients", "nothing(.)"], "names no patient in case case_000"),
        (
            ["901", "--patients", "(case_00.)"],
            "in case case_010 (2 of 12 cases), matched from its start. What only some",
        ),
        (["901", "--seed", "-1"], "The seed is a whole number from 0, got -1."),
        (["901", "--patients", "case"], "must have one group in round brackets"),
        (["777"], "There is no dataset Dataset777_*"),
    ],
)
def test_wrong_usage_writes_nothing(tiny, capsys, words, said):
    target = tiny.preprocessed / "splits_final.json"
    target.unlink(missing_ok=True)
    assert main(["split", *words]) == 2
    assert said in capsys.readouterr().err
    assert not target.exists()


def test_without_nnunet_s_variable_a_file_has_to_be_given(tiny, capsys, monkeypatch):
    monkeypatch.delenv("nnUNet_preprocessed")
    assert main(["split", "901"]) == 2
    assert "nnUNet_preprocessed is not set" in capsys.readouterr().err


def test_inspect_warns_of_a_fold_without_a_modality(tiny, capsys):
    (tiny.preprocessed / "splits_final.json").unlink(missing_ok=True)
    assert main(["inspect", "901"]) == 0
    said = capsys.readouterr().out
    assert "With the folds that nnU-Net makes:\n- Fold " in said
    assert "validates no case with T2." in said
    assert "nnunet_missingmod split DATASET makes folds" in said
    assert main(["split", "901", "--num_folds", "3"]) == 0
    capsys.readouterr()
    assert main(["inspect", "901"]) == 0
    assert "Fold" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '"mine"',
        "[3]",
        '[{"train": ["case_000"]}]',
        "null",
        "[]",
        '[{"train": [["a"]], "val": ["case_000"]}]',
        '[{"train": ["case_000"], "val": [{}]}]',
        '[{"train": [0], "val": ["case_000"]}]',
        "[" * 100_000,
    ],
)
def test_inspect_says_that_folds_are_none(tiny, capsys, content):
    (tiny.preprocessed / "splits_final.json").write_text(content)
    assert main(["inspect", "901"]) == 0
    assert "splits_final.json is no list of folds" in capsys.readouterr().out


def test_inspect_warns_of_a_case_on_both_sides(tiny, capsys):
    folds = [{"train": tiny.cases, "val": tiny.cases[:1]}]
    (tiny.preprocessed / "splits_final.json").write_text(json.dumps(folds))
    assert main(["inspect", "901"]) == 0
    assert "- Fold 0 validates on 1 case that it trains on: case_000." in capsys.readouterr().out


def test_inspect_warns_of_visits_of_a_patient_on_both_sides(make_tiny_dataset, capsys):
    tiny = make_tiny_dataset(names=("T1", "T2"), num_cases=6)
    for number, case in enumerate(tiny.cases):
        for channel in range(2):
            tiny.image(case, channel).rename(tiny.image(f"P{number // 2}_v{number % 2}", channel))
        tiny.label(case).rename(tiny.label(f"P{number // 2}_v{number % 2}"))
    (tiny.preprocessed / "splits_final.json").unlink(missing_ok=True)
    assert main(["inspect", "901"]) == 0
    said = capsys.readouterr().out
    assert "3 patients may have several cases: P0_v0, P0_v1 look like visits of P0; if so, keep" in said
    assert "patients that it trains on" in said


def test_a_modality_that_no_case_has_is_named_once(tiny, capsys):
    for case in tiny.cases[:3]:
        tiny.image(case, 1).unlink()
    assert main(["split", "901", "--num_folds", "3", "--replace"]) == 1
    said = capsys.readouterr().out
    assert said.count("T1 4, T2 0\n") == 3
    assert said.count("No training case has T2 (channel 1)") == 1
    assert "fewer folds" not in said


@pytest.mark.parametrize("colours", [3, 1])
def test_a_picture_holds_as_many_modalities_as_it_has_colours(make_tiny_dataset, capsys, colours):
    tiny = make_tiny_dataset(names=("R", "G", "B"), num_cases=4)
    for case in tiny.cases:
        for channel in range(3):
            tiny.image(case, channel).unlink()
        pixels = np.random.default_rng(0).integers(0, 255, (8, 9, colours), np.uint8)
        Image.fromarray(pixels.squeeze()).save(tiny.raw / "imagesTr" / f"{case}_0000.png")
    (tiny.raw / "dataset.json").write_text(json.dumps({**tiny.dataset_json, "file_ending": ".png"}))
    assert main(["split", "901", "--num_folds", "2", "--replace"]) == (0 if colours == 3 else 1)
    said = capsys.readouterr().out
    assert said.count("R 2, G 2, B 2\n" if colours == 3 else "R 2, G 0, B 0\n") == 2
    assert ("No training case has G (channel 1), B (channel 2)" in said) == (colours == 1)


def test_a_dataset_that_is_a_link_keeps_the_name_by_which_nnunet_knows_it(tiny, capsys, tmp_path):
    elsewhere = tmp_path / "ms_pool"
    tiny.raw.rename(elsewhere)
    tiny.raw.symlink_to(elsewhere, target_is_directory=True)
    folder = Path(os.environ["nnUNet_preprocessed"])  # noqa: SIM112 - the host's name
    for given in (tiny.raw.name.split("_")[0].removeprefix("Dataset"), str(tiny.raw)):
        assert main(["split", given, "--num_folds", "3", "--replace"]) == 0
        assert (folder / tiny.raw.name / "splits_final.json").is_file()
        assert not (folder / "ms_pool").exists()


def test_the_folder_one_is_in_is_split(tiny, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tiny.raw)
    assert main(["split", ".", "--num_folds", "3", "--file", str(tmp_path / "folds.json")]) == 0
    monkeypatch.chdir(tiny.raw.parent)
    assert main(["split", ".", "--num_folds", "3", "--replace"]) == 2
    assert "Give the folder of a raw dataset, its id or its name." in capsys.readouterr().err
