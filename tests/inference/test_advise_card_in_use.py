"""From evaluation to prediction: the card that one writes, the other prints and puts beside its segmentations."""

from __future__ import annotations

import json
from math import isnan

import pytest

from nnunet_missingmod.cli import main
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card


@pytest.fixture
def evaluated(two_fold_dataset, make_model, tmp_path, numbers_only):
    folder = make_model(two_fold_dataset, "nnUNetTrainerSharedBackbone", folds=(0, 1))
    assert main(["evaluate", str(folder), "-o", str(tmp_path / "evaluation"), "-device", "cpu", "--disable_tta"]) == 0
    return folder


def test_each_prediction_says_what_to_expect(evaluated, two_fold_dataset, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for name, channels in (("whole", (0, 1)), ("part", (1,))):
        for channel in channels:
            file = two_fold_dataset.image("case_000", channel)
            (images / f"{name}_{channel:04d}.nii.gz").write_bytes(file.read_bytes())
    capsys.readouterr()
    arguments = ["-m", str(evaluated), "-i", str(images), "-o", str(tmp_path / "out"), "-device", "cpu"]
    assert main(["predict", *arguments, "--disable_tta"]) == 0
    said = capsys.readouterr().out
    card = read_card(evaluated / FILE_NAME)
    for case, subset in (("whole", ["T1", "T2"]), ("part", ["T2"])):
        expected = card.expected(subset)
        beside = json.loads((tmp_path / "out" / f"{case}.missingmod.json").read_text())
        assert beside["expected_dice"]["subset"] == "+".join(subset)
        assert beside["expected_dice"]["regions"]["WT"] == expected.regions["WT"].as_json()
        line = next(line for line in said.splitlines() if f" {case}: " in line)
        assert f"{100 * expected.regions['WT'].mean:.1f}" in line
        assert isnan(expected.regions["WT"].low)  # of four patients: an interval takes six


def test_advice_comes_from_the_same_card(evaluated, capsys):
    assert main(["advise", "-m", str(evaluated), "--present", "T2"]) == 0
    said = capsys.readouterr().out
    gain = read_card(evaluated / FILE_NAME).advise(["T2"])[0]
    assert gain.modality == "T1"
    assert f"T1  {100 * gain.gain.mean:+.1f}" in said
    assert "validation cases of fold 0, 1" in said
