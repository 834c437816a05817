"""The command says what was converted, what was refused, and what to change if it cannot start."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from datasets.brats_source import make_source

from nnunet_missingmod.cli import main
from nnunet_missingmod.commands.table import COMMANDS
from nnunet_missingmod.datasets import brats_naming

__all__ = ["make_source"]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that runs the command on a folder, with tmp_path/raw as the output."""
    monkeypatch.delenv("nnUNet_raw", raising=False)

    def run(folder, *options, output=True):
        where = ["--output", str(tmp_path / "raw")] if output else []
        number = [] if {"-d", "--dataset-id"} & set(options) else ["--dataset-id", "7"]
        return main(["convert-brats", str(folder), *number, *where, *options])

    return run


@pytest.fixture
def dataset(tmp_path):
    return tmp_path / "raw" / "Dataset007_BraTS"


def test_a_folder_is_converted_and_its_cases_are_counted(make_source, command, dataset, capsys):
    make_source("BraTS20_Training_001")
    make_source("BraTS20_Training_002", modalities=("FLAIR", "T2"))
    source = make_source("BraTS20_Validation_001", labels=None)
    assert command(source, "--jobs", "2") == 0
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 2
    printed = capsys.readouterr().out.split("\n")
    assert any(line.split() == ["1", "Tr", "FLAIR+T2"] for line in printed)
    assert any(line.split() == ["1", "Ts", "FLAIR+T1+T1ce+T2"] for line in printed)
    assert f"3 of 3 cases converted, 0 refused: {dataset}" in printed


def test_the_spellings_of_nnunet_do_the_same(make_source, dataset):
    source = make_source("a")
    assert main(["convert-brats", str(source), "-d", "7", "-o", str(dataset.parent), "-np", "2"]) == 0
    assert (dataset / "imagesTr" / "a_0000.nii.gz").exists()


def test_one_bad_case_costs_no_other_and_all_are_named(make_source, command, dataset, capsys):
    make_source("good")
    make_source("labels", labels=(0, 7))
    source = make_source("nothing", modalities=())
    assert command(source) == 1
    captured = capsys.readouterr()
    refused = [line for line in captured.err.splitlines() if "is refused" in line]
    assert [message.split()[0] for message in refused] == ["labels", "nothing"]
    assert "1 of 3 cases converted, 2 refused" in captured.out
    assert {path.name[:4] for path in (dataset / "imagesTr").iterdir()} == {"good"}


def test_nothing_is_left_where_every_case_is_refused(make_source, command, dataset):
    assert command(make_source("labels", labels=(0, 7))) == 1
    assert not dataset.exists()


def test_the_environment_names_the_default_output(make_source, command, tmp_path, monkeypatch, capsys):
    source = make_source("a")
    assert command(source, output=False) == 2
    said = capsys.readouterr().err
    assert "--output" in said
    assert "nnUNet_raw" in said
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "from_environment"))
    assert command(source, "--name", "Glioma", output=False) == 0
    assert (tmp_path / "from_environment" / "Dataset007_Glioma" / "dataset.json").exists()


def test_cases_that_are_there_are_replaced_only_when_asked(make_source, command, dataset, capsys):
    source = make_source("a")
    assert command(source) == 0
    assert command(source) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert command(source, "--overwrite") == 0


def test_a_number_that_another_dataset_has_is_refused(make_source, command, tmp_path, capsys):
    for name in ("Dataset007_Kidney", "Dataset007_Liver"):
        (tmp_path / "raw" / name).mkdir(parents=True)
    assert command(make_source("a")) == 2
    assert "already, to Dataset007_Kidney, Dataset007_Liver: choose another (-d)." in capsys.readouterr().err


def test_an_archive_of_this_number_is_no_dataset(make_source, command, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "Dataset007_Kidney.zip").touch()
    assert command(make_source("a")) == 0


def test_the_years_are_the_converters_own_wherever_they_are_told():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert "2017-2021" in (brats_naming.__doc__ or "")
    assert "(2017-2021, 2023+)" in COMMANDS["convert-brats"].line
    assert "(2017 to 2021, 2023 and later)" in readme


@pytest.mark.parametrize(
    ("options", "shown"), [(["--dataset-id", "0"], "-d"), (["-d", "1000"], "-d"), (["--jobs", "0"], "-np")]
)
def test_numbers_out_of_range_are_wrong_usage(make_source, command, options, shown, capsys):
    assert command(make_source("a"), *options) == 2
    assert f"{shown} is" in capsys.readouterr().err


def test_a_folder_without_cases_is_wrong_usage_and_says_what_was_expected(command, tmp_path, capsys):
    assert command(tmp_path / "nowhere") == 2
    (tmp_path / "empty").mkdir()
    assert command(tmp_path / "empty") == 2
    assert "BraTS20_Training_001_flair.nii.gz" in capsys.readouterr().err


def test_images_of_other_names_are_told(make_source, command, capsys):
    source = make_source("a")
    (source / "a" / "a_pc.nii.gz").write_bytes(b"")
    assert command(source) == 0
    assert "a_pc.nii.gz is passed over" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "..", ".x", "x" * 300, "\udcff"])
def test_a_name_that_is_none_of_a_folder_is_wrong_usage(make_source, command, tmp_path, name, capsys):
    source = make_source("a")
    before = set(tmp_path.rglob("*"))
    assert command(source, "--name", name) == 2
    assert "--name is a part of the dataset folder's name" in capsys.readouterr().err
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("where", ["", "a"])
def test_an_output_among_the_sources_is_wrong_usage(make_source, where, capsys):
    source = make_source("a")
    before = set(source.rglob("*"))
    assert main(["convert-brats", str(source), "-d", "5", "-o", str(source / where)]) == 2
    assert "choose another -o" in capsys.readouterr().err
    assert set(source.rglob("*")) == before


def test_a_full_disk_is_a_failure_and_no_refused_case(make_source, command, dataset, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    assert command(make_source("a")) == 1
    said = capsys.readouterr().err
    assert f"Cannot write into {dataset}: No space left on device" in said
    assert "is refused" not in said
