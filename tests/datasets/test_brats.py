from __future__ import annotations

import argparse
import csv
import json
import logging

import pytest

from nnunet_missingmod.datasets import brats
from nnunet_missingmod.evaluation.conventions import brats_regions, dataset_regions


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that runs the command on a folder, with tmp_path/raw as the output."""
    monkeypatch.delenv("nnUNet_raw", raising=False)

    def run(folder, *options, output=True):
        parser = argparse.ArgumentParser()
        brats.add_arguments(parser)
        where = ["--output", str(tmp_path / "raw")] if output else []
        return brats.run(parser.parse_args([str(folder), "--dataset-id", "7", *where, *options]))

    return run


@pytest.fixture
def dataset(tmp_path):
    return tmp_path / "raw" / "Dataset007_BraTS"


def read_json(dataset):
    return json.loads((dataset / "dataset.json").read_text())


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_a_folder_becomes_a_raw_dataset(make_source, command, dataset, capsys):
    make_source("BraTS20_Training_001")
    make_source("BraTS20_Training_002", modalities=("FLAIR", "T2"))
    source = make_source("BraTS20_Validation_001", labels=None)
    assert command(source, "--jobs", "2") == 0
    assert read_json(dataset) == {
        "name": "BraTS",
        "channel_names": {"0": "FLAIR", "1": "T1", "2": "T1ce", "3": "T2"},
        "labels": {"background": 0, "NCR": 1, "ED": 2, "ET": 3},
        "file_ending": ".nii.gz",
        "numTraining": 2,
    }
    assert files_below(dataset) == [
        "dataset.json",
        *[f"imagesTr/BraTS20_Training_001_000{channel}.nii.gz" for channel in range(4)],
        "imagesTr/BraTS20_Training_002_0000.nii.gz",
        "imagesTr/BraTS20_Training_002_0003.nii.gz",
        *[f"imagesTs/BraTS20_Validation_001_000{channel}.nii.gz" for channel in range(4)],
        "labelsTr/BraTS20_Training_001.nii.gz",
        "labelsTr/BraTS20_Training_002.nii.gz",
        "presence.csv",
    ]
    assert sorted(path.name for path in dataset.iterdir() if path.is_dir()) == ["imagesTr", "imagesTs", "labelsTr"]
    printed = capsys.readouterr().out.split("\n")
    assert any(line.split() == ["1", "Tr", "FLAIR+T2"] for line in printed)
    assert any(line.split() == ["1", "Ts", "FLAIR+T1+T1ce+T2"] for line in printed)


def test_the_presence_table_says_which_case_has_which_modality(make_source, command, dataset):
    make_source("a", modalities=("T1ce",))
    assert command(make_source("b", labels=None)) == 0
    with (dataset / "presence.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["case", "split", "FLAIR", "T1", "T1ce", "T2"],
            ["a", "Tr", "0", "0", "1", "0"],
            ["b", "Ts", "1", "1", "1", "1"],
        ]


def test_one_bad_case_costs_no_other_and_all_are_named(make_source, command, dataset, caplog):
    make_source("good")
    make_source("labels", labels=(0, 7))
    source = make_source("nothing", modalities=())
    assert command(source) == 1
    refused = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [message.split()[0] for message in refused] == ["labels", "nothing"]
    assert read_json(dataset)["numTraining"] == 1
    assert {path.name[:4] for path in (dataset / "imagesTr").iterdir()} == {"good"}


def test_nothing_is_left_where_every_case_is_refused(make_source, command, dataset):
    assert command(make_source("labels", labels=(0, 7))) == 1
    assert not dataset.exists()


@pytest.mark.parametrize("keep_cavity", [False, True])
def test_regions_are_those_that_evaluation_scores(keep_cavity):
    plain = brats.dataset_json(name="x", regions=False, keep_cavity=keep_cavity)
    regions = brats.dataset_json(name="x", regions=True, keep_cavity=keep_cavity)
    assert dataset_regions(regions) == brats_regions(plain)
    for label, region in zip(regions["regions_class_order"], dataset_regions(regions).values(), strict=True):
        assert label in region


def test_a_label_map_written_in_the_class_order_gives_the_regions_back():
    content = brats.dataset_json(name="x", regions=True, keep_cavity=True)
    regions = dataset_regions(content)
    for inside in (["WT"], ["WT", "TC"], ["WT", "TC", "ET"], ["RC"]):
        written = 0
        for label, name in zip(content["regions_class_order"], regions, strict=True):
            written = label if name in inside else written
        assert [name for name, region in regions.items() if written in region] == inside


def test_the_environment_names_the_default_output(make_source, command, tmp_path, monkeypatch, caplog):
    source = make_source("a")
    assert command(source, output=False) == 2
    assert "--output" in caplog.text
    assert "nnUNet_raw" in caplog.text
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "from_environment"))
    assert command(source, "--name", "Glioma", output=False) == 0
    assert (tmp_path / "from_environment" / "Dataset007_Glioma" / "dataset.json").exists()


def test_cases_that_are_there_are_replaced_only_when_asked(make_source, command, dataset, caplog):
    source = make_source("a")
    assert command(source) == 0
    (dataset / "imagesTr" / "a_0000.nii.gz").write_bytes(b"mine")
    assert command(source) == 2
    assert "--overwrite" in caplog.text
    assert (dataset / "imagesTr" / "a_0000.nii.gz").read_bytes() == b"mine"
    assert command(source, "--overwrite") == 0
    assert (dataset / "imagesTr" / "a_0000.nii.gz").read_bytes() != b"mine"


def test_more_cases_join_a_dataset_of_the_same_labels_only(make_source, command, dataset, caplog):
    assert command(make_source("a")) == 0
    validation = make_source("b", folder="validation")
    assert command(validation, "--regions", "--test") == 2
    assert "labels" in caplog.text
    assert command(validation, "--test") == 0
    assert read_json(dataset)["numTraining"] == 1
    assert (dataset / "labelsTs" / "b.nii.gz").exists()
    assert (dataset / "imagesTr" / "a_0000.nii.gz").exists()


def test_a_number_that_another_dataset_has_is_refused(make_source, command, tmp_path, caplog):
    (tmp_path / "raw" / "Dataset007_Kidney").mkdir(parents=True)
    assert command(make_source("a")) == 2
    assert "Dataset007_Kidney" in caplog.text


@pytest.mark.parametrize("options", [["--dataset-id", "0"], ["--dataset-id", "1000"], ["--jobs", "0"]])
def test_numbers_out_of_range_are_wrong_usage(make_source, command, options, caplog):
    assert command(make_source("a"), *options) == 2
    assert options[0] in caplog.text


def test_a_folder_without_cases_is_wrong_usage_and_says_what_was_expected(command, tmp_path, caplog):
    assert command(tmp_path / "nowhere") == 2
    (tmp_path / "empty").mkdir()
    assert command(tmp_path / "empty") == 2
    assert "BraTS20_Training_001_flair.nii.gz" in caplog.text
    assert "BraTS-GLI-00000-000-t2f.nii.gz" in caplog.text


def test_nifti_files_of_other_names_are_told(make_source, command, caplog):
    source = make_source("a")
    (source / "a" / "a_t1gd.nii.gz").write_bytes(b"")
    assert command(source) == 0
    assert "a_t1gd.nii.gz" in caplog.text
