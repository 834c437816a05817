"""Arguments are checked before anything is read or written."""

from __future__ import annotations

import argparse

import pytest
import torch

from nnunet_missingmod.benchmarking.request import request_of
from nnunet_missingmod.commands.evaluate import add_arguments
from nnunet_missingmod.errors import UsageError


def ask(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return request_of(parser.parse_args([*arguments, "-o", "out", "--device", "cpu"]), "the command")


def test_a_request_holds_what_was_asked_for():
    request = ask("A=x", "B=y", "-f", "0", "all", "--subsets", "1", "T1+T2", "--least-size", "ET=50", "--disable_tta")
    assert [(model.name, str(model.folder), model.folds) for model in request.models] == [
        ("A", "x", (0, "all")),
        ("B", "y", (0, "all")),
    ]
    assert request.baseline == "A"
    assert request.subset_words == ("1", "T1+T2")
    assert request.least_size == {"ET": 50}
    assert not request.settings.mirroring
    assert request.device == torch.device("cpu")
    assert request.command == "the command"


def test_a_margin_is_in_points_of_dice_and_compares_two_models():
    assert ask("A=x", "B=y", "--margin", "1.5").margin == 1.5
    assert ask("x").margin is None
    for points in ("0", "-1", "100", "nan"):
        with pytest.raises(UsageError, match=f"--margin is a number of points of Dice between 0 and 100, got {points}"):
            ask("A=x", "B=y", f"--margin={points}")
    with pytest.raises(UsageError, match="and there is one model"):
        ask("x", "--margin", "1")


def test_the_defaults_are_every_subset_if_they_are_not_too_many_and_the_validation_cases():
    request = ask("x")
    assert request.subset_words == ()
    assert request.label_map == {}
    assert request.images is None
    assert request.models[0].folds is None
    assert request.settings.mirroring
    assert request.jobs == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give model folders, or -d and -c and -tr to find them"),
        (["-d", "1", "-tr", "T"], "or -c too"),
        (["x", "-d", "1"], "not both"),
        (["x/A", "y/A"], "Two models are called"),
        (["A=x", "--baseline", "B"], "'B' is none of the models: A"),
        (["x", "-i", "."], "both its images"),
        (["x", "--map-labels", "4"], "VALUE=LABEL, as 4=3"),
        (["x", "--map-labels", "4=ET"], "VALUE=LABEL, as 4=3"),
        (["x", "--map-labels", "4=3", "4=2"], "once for each value"),
        (["..=x"], "starts with a dot"),
        *((["x", "--tolerance", each], "--tolerance is a number of mm above 0") for each in ("0", "-1", "inf", "nan")),
        (["x", "--least-size", "ET"], "REGION=VOXELS"),
        (["x", "--least-size", "ET=0"], "REGION=VOXELS"),
        (["x", "--patients", "case_"], "one group"),
    ],
)
def test_what_contradicts_itself_or_is_out_of_range_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        ask(*arguments)


@pytest.mark.parametrize("role", ["-i", "-ref", "model"])
@pytest.mark.parametrize("below", [".", "new/deeper"])
def test_an_output_among_images_references_or_models_is_refused(tmp_path, role, below):
    folders = {name: tmp_path / name for name in ("-i", "-ref", "model")}
    for folder in folders.values():
        folder.mkdir()
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    (tmp_path / "link").symlink_to(folders[role])
    arguments = [str(folders["model"]), "-i", str(folders["-i"]), "-ref", str(folders["-ref"]), "-device", "cpu"]
    for output in (folders[role] / below, tmp_path / "link" / below):
        with pytest.raises(UsageError, match="must not lie among images, references or models"):
            request_of(parser.parse_args([*arguments, "-o", str(output)]), "")
    assert request_of(parser.parse_args([*arguments, "-o", str(tmp_path)]), "").output == tmp_path


def test_a_device_that_is_not_there_is_refused():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(UsageError, match="cuda:99"):
        request_of(parser.parse_args(["x", "-o", "out", "--device", "cuda:99"]), "")


@pytest.mark.parametrize(
    "output", [".", "nnUNet_raw", "nnUNet_results", "nnUNet_preprocessed", "nnUNet_raw/Dataset001_A"]
)
def test_an_output_that_is_or_holds_nnunets_folders_is_refused(tmp_path, monkeypatch, output):
    for name in ("nnUNet_raw", "nnUNet_results", "nnUNet_preprocessed"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "nnUNet_raw" / "Dataset001_A").mkdir(parents=True)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(UsageError, match=r"is or holds .*, which is nnUNet_|is a raw dataset"):
        request_of(parser.parse_args(["x", "-device", "cpu", "-o", str(tmp_path / output)]), "")
    beside = tmp_path / "nnUNet_results" / "evaluation"
    assert request_of(parser.parse_args(["x", "-device", "cpu", "-o", str(beside)]), "").output == beside


def test_a_name_that_no_disk_can_have_is_a_models_folder_that_is_not_there():
    assert ask(f"A={'x' * 5000}").models[0].name == "A"
