"""``nnunet_missingmod predict`` as a user calls it: exit codes and what is said."""

from __future__ import annotations

import errno
import json
import os

import pytest
import torch

from nnunet_missingmod import cli
from nnunet_missingmod.inference import output_description

TRAINER = "nnUNetTrainerModalityDropout"


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=2)


@pytest.fixture
def model(tiny, make_model):
    return make_model(tiny, TRAINER)


@pytest.fixture
def given(tiny, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for case, channels in (("case_000", (0, 1, 2, 3)), ("case_001", (1, 3))):
        for channel in channels:
            file = tiny.image(case, channel)
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def predict(*arguments):
    return cli.main(["predict", *map(str, arguments), "-device", "cpu"])


def rows(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def test_exit_0_where_all_cases_are_predicted(model, given, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert predict("-i", given, "-o", out, "-m", model) == 0
    assert {file.name for file in out.iterdir()} == {
        "case_000.nii.gz",
        "case_000.missingmod.json",
        "case_001.nii.gz",
        "case_001.missingmod.json",
        "predictions.jsonl",
        "dataset.json",
        "plans.json",
    }
    said = capsys.readouterr().out
    assert said.startswith(f"2 cases, {TRAINER} on FLAIR, T1, T1ce, T2, fold 0, on cpu.\n")
    assert f"2 predicted. Rows: {out / 'predictions.jsonl'}" in said


def test_exit_1_where_a_case_is_refused_and_the_others_are_done(model, given, tmp_path):
    (given / "case_000_0002.nii.gz").write_bytes(b"")
    assert predict("-i", given, "-o", tmp_path / "out", "-m", model) == 1
    assert {row["case"]: row["status"] for row in rows(tmp_path / "out")} == {
        "case_000": "refused",
        "case_001": "predicted",
    }


def test_one_case_file_by_file_equals_the_folder(model, given, tmp_path):
    assert predict("-i", given, "-o", tmp_path / "out", "-m", model, "--save_probabilities") == 0
    images = [("--image", f"{name}={given}/case_001_{channel:04d}.nii.gz") for name, channel in (("T2", 3), ("T1", 1))]
    assert predict(*sum(images, ()), "-o", tmp_path / "one", "-m", model) == 0
    by_name = ("-d", 901, "-c", "3d_fullres", "-tr", TRAINER, "-f", 0)
    assert predict(*sum(images, ()), "--case", "someone", "-o", tmp_path / "one", *by_name) == 0
    expected = (tmp_path / "out" / "case_001.nii.gz").read_bytes()
    assert (tmp_path / "one" / "case_001.nii.gz").read_bytes() == expected
    assert (tmp_path / "one" / "someone.nii.gz").read_bytes() == expected
    assert (tmp_path / "out" / "case_001.npz").exists()


def test_parts_share_the_cases(model, given, tmp_path):
    for part in (0, 1):
        assert predict("-i", given, "-o", tmp_path / "out", "-m", model, "-num_parts", 2, "-part_id", part) == 0
    assert [row["case"] for row in rows(tmp_path / "out")] == ["case_000", "case_001"]


def test_files_are_treated_as_the_options_say(model, given, tmp_path):
    options = ("--nonfinite", "zero", "--geometry-tolerance", 2, "--blank-is-present")
    assert predict("-i", given, "-o", tmp_path / "out", "-m", model, *options) == 0
    assert rows(tmp_path / "out")[0]["made_from"]["choices"] == {
        "nonfinite": "zero",
        "blank_is_absent": False,
        "geometry_tolerance_voxels": 2.0,
        "nifti_transform": "refuse",
        "headers": "strict",
        "overridden": ["blank_is_absent", "geometry_tolerance_voxels", "nonfinite"],
    }


def usage(tmp_path, capsys, *arguments):
    capsys.readouterr()
    assert predict("-o", tmp_path / "out", *arguments) == 2
    assert not (tmp_path / "out").exists(), "what cannot start leaves nothing"
    return capsys.readouterr().err


def test_exit_2_with_the_fix_where_it_cannot_start(model, given, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").touch()
    image = given / "case_001_0001.nii.gz"
    for arguments, said in (
        (("-i", empty, "-m", model), f"no case in {empty}. Expected per case one or more of: _0000.nii.gz FLAIR"),
        (("-i", tmp_path / "none", "-m", model), f"There is no folder {tmp_path / 'none'}"),
        (("-m", model), "Give the cases as a folder (-i), or one case as --image"),
        (("-i", given, "--image", f"T1={image}", "-m", model), "Give the cases as a folder (-i), or"),
        (("--image", f"T1c={image}", "-m", model), "no modality 'T1c'. Did you mean 'T1ce'? Its modalities are: FLAIR"),
        (("--image", str(image), "-m", model), "--image takes NAME=FILE"),
        (("--image", f"T1={image}", "--image", f"T1={image}", "-m", model), "once per name; look at: T1"),
        (("--image", f"T1={image}", "--case", "a/b", "-m", model), "--case is the name of a file without folder"),
        (("-i", given, "--case", "x", "-m", model), "--case names the one case of --image"),
        (("-i", given), "Give a model folder (-m), or -d and -c and -tr too"),
        (("-i", given, "-d", 901, "-c", "3d_fullres"), "Give a model folder (-m), or -tr too"),
        (("-i", given, "-m", model, "-d", 901), "not both"),
        (("-i", given, "-m", tmp_path), "is not a model folder of nnU-Net"),
        (("-i", given, "-m", tmp_path / "nomodel"), f"There is no model folder {tmp_path / 'nomodel'}"),
        (("-i", given, "-m", model, "-f", 3), "no checkpoint_final.pth of fold 3; it has 0"),
        (("-i", given, "-m", model, "-chk", "checkpoint_best.pth"), "checkpoint_best.pth"),
        (("-i", given, "-d", 77, "-c", "2d", "-tr", TRAINER), "Cannot find the model of dataset 77"),
        (("-i", given, "-m", model, "-step_size", 0), "-step_size/--step-size: it is at least 0.05 and at most 1"),
        (("-i", given, "-m", model, "-npp", 0), "-npp is 1 or more"),
        (("-i", given, "-m", model, "-nps", 0), "-nps is 1 or more"),
        (("-i", given, "-m", model, "-num_parts", 2, "-part_id", 2), "-part_id goes from 0 to -num_parts - 1 = 1"),
        (("-i", given, "-m", model, "-num_parts", 0), "-num_parts is 1 or more, got 0"),
        (("-i", given, "-m", model, "-prev_stage_predictions", given), "3d_fullres has no previous stage"),
        (("-i", given, "-m", model, "-prev_stage_predictions", tmp_path / "no"), "There is no folder"),
        (("-i", given, "-m", model, "--geometry-tolerance", -1), "geometry_tolerance_voxels must be"),
    ):
        assert said in usage(tmp_path, capsys, *arguments), arguments


def test_exit_2_without_the_device(model, given, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code = cli.main(["predict", "-i", str(given), "-o", str(tmp_path / "out"), "-m", str(model), "-device", "cuda"])
    assert code == 2
    assert "There is no device 'cuda' here: give cpu" in capsys.readouterr().err


def test_exit_2_where_the_model_would_be_overwritten_however_it_is_named(model, given, capsys, monkeypatch):
    before = {file: file.read_bytes() for file in model.rglob("*") if file.is_file()}
    trainer, plans, configuration = model.name.split("__")
    monkeypatch.setenv("nnUNet_results", str(model.parent.parent))
    named = ("-d", model.parent.name, "-c", configuration, "-tr", trainer, "-p", plans)
    for output in (model, model / "fold_0", model / "fold_0" / "new"):
        for of_model in (named, ("-m", model)):
            assert predict("-i", given, "-o", output, *of_model) == 2
            assert "another" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in model.rglob("*") if file.is_file()} == before


def test_exit_2_where_images_would_be_overwritten(model, given, tmp_path, capsys):
    assert predict("-i", given, "-o", given, "-m", model) == 2
    assert "-o must be another folder than -i" in capsys.readouterr().err
    lonely = given / "lonely.nii.gz"
    lonely.write_bytes((given / "case_001_0001.nii.gz").read_bytes())
    assert predict("--image", f"T1={lonely}", "-o", given, "-m", model) == 2
    assert "would overwrite an image" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_exit_2_where_the_output_folder_cannot_be_written_to(model, given, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert predict("-i", given, "-o", locked / "out", "-m", model) == 2
    assert f"Cannot write into {locked / 'out'}" in capsys.readouterr().err


def test_exit_2_where_the_output_folder_is_a_file(model, given, tmp_path, capsys):
    (tmp_path / "out").touch()
    assert predict("-i", given, "-o", tmp_path / "out", "-m", model) == 2
    assert f"Cannot write into {tmp_path / 'out'}" in capsys.readouterr().err


def test_cascade_takes_the_previous_stages_folder_case_by_case(tiny, make_model, given, tmp_path, capsys):
    model = make_model(tiny, TRAINER, configuration="3d_cascade_fullres")
    assert "needs the predictions of 3d_lowres: -prev_stage_predictions" in usage(
        tmp_path, capsys, "-i", given, "-m", model
    )
    previous = tmp_path / "previous"
    previous.mkdir()
    (previous / "case_000.nii.gz").write_bytes(tiny.label("case_000").read_bytes())
    assert predict("-i", given, "-o", tmp_path / "out", "-m", model, "-prev_stage_predictions", previous) == 1
    found = {row["case"]: row for row in rows(tmp_path / "out")}
    assert found["case_000"]["status"] == "predicted"
    assert f"{previous / 'case_001.nii.gz'} is not there" in found["case_001"]["error"]


def test_a_start_on_a_full_disk_leaves_nothing(model, given, tmp_path, capsys, monkeypatch):
    def full(path, _text):
        if path.name == "plans.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_text("{}")

    monkeypatch.setattr(output_description, "write_text", full)
    assert predict("-i", given, "-o", tmp_path / "new" / "out", "-m", model) == 2
    assert f"Cannot write into {tmp_path / 'new' / 'out'}: No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    assert predict("-i", given, "-o", tmp_path / "old", "-m", model) == 2
    assert list((tmp_path / "old").iterdir()) == []


@pytest.mark.parametrize("name", ["dataset.json", "plans.json"])
def test_a_folder_in_the_place_of_a_file_is_named(model, given, tmp_path, capsys, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    assert predict("-i", given, "-o", tmp_path / "out", "-m", model) == 2
    assert f"Cannot write {tmp_path / 'out' / name}: it is a folder" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "out").iterdir()] == [name]


def test_an_output_within_the_images_is_wrong_usage(model, given, capsys):
    assert predict("-i", given, "-o", given / "sub" / "out", "-m", model) == 2
    assert f"lies in {given} (-i), which is read: choose another -o" in capsys.readouterr().err
    assert not (given / "sub").exists()
