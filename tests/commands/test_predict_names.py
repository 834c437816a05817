"""``predict`` with channel names that occur twice or have characters of the notation in them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod import cli

NAMES = ("MR", "MR", "T1=post\\late", "2")


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(NAMES, num_cases=1)


@pytest.fixture
def model(tiny, make_model):
    return make_model(tiny, "nnUNetTrainerModalityDropout")


def predict(*arguments):
    return cli.main(["predict", *map(str, arguments), "-device", "cpu", "--disable_tta"])


def rows(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def test_each_modality_of_one_name_can_be_given_and_reported(tiny, model, tmp_path, capsys):
    given = tmp_path / "in"
    given.mkdir()
    for channel in (1, 2, 3):
        file = tiny.image("case_000", channel)
        (given / file.name).write_bytes(file.read_bytes())
    assert predict("-m", model, "-i", given, "-o", tmp_path / "folder") == 0
    spelled = {1: "MR_1", 2: "T1\\=post\\\\late", 3: "\\2"}
    images = [
        part for channel, name in spelled.items() for part in ("--image", f"{name}={tiny.image('case_000', channel)}")
    ]
    assert predict("-m", model, *images, "--case", "case_000", "-o", tmp_path / "files") == 0
    (by_folder,), (by_name,) = rows(tmp_path / "folder"), rows(tmp_path / "files")
    assert by_folder["present"] == by_name["present"] == ["MR_1", "T1=post\\late", "2"]
    arrays = [
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / out / "case_000.nii.gz"))) for out in ("folder", "files")
    ]
    np.testing.assert_array_equal(*arrays)
    capsys.readouterr()
    assert predict("-m", model, "--image", f"MR={tiny.image('case_000', 0)}", "-o", tmp_path / "no") == 2
    assert "has no modality 'MR'" in capsys.readouterr().err


def test_a_prediction_is_made_again_where_one_file_of_two_of_the_same_name_has_changed(tiny, model, tmp_path):
    call = ("-m", model, "-i", tiny.raw / "imagesTr", "-o", tmp_path / "out", "--continue_prediction")
    assert predict(*call) == 0
    assert predict(*call) == 0
    image = sitk.ReadImage(str(tiny.image("case_000", 1)))
    sitk.WriteImage(image * 2, str(tiny.image("case_000", 1)))
    assert predict(*call) == 0
    assert [row["status"] for row in rows(tmp_path / "out")] == ["predicted", "kept", "predicted"]
