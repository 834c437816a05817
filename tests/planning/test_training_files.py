"""Which lists of training cases lack files."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod.planning.training_files import lack_files, planned_without_absence

JSON = {"channel_names": {"0": "T1", "1": "T2", "2": "FLAIR"}, "file_ending": ".png"}


@pytest.mark.parametrize(
    ("files", "lacks"),
    [
        ([(0, 1, 2), (0, 1, 2)], False),
        ([(0, 1, 2), (0, 2)], True),
        ([(0,), (0,)], False),  # one file with all channels, as nnU-Net's RGB pictures
        ([(0,), (1,), (2,)], True),  # each case has another modality
        ([(0, 1), (0, 1)], True),
    ],
)
def test_by_names(files, lacks):
    cases = {
        f"c{number}": {"images": [f"/raw/c{number}_{channel:04d}.png" for channel in channels]}
        for number, channels in enumerate(files)
    }
    assert lack_files(cases, JSON) is lacks


def test_by_list(tmp_path):
    there = tmp_path / "a.png"
    there.touch()
    listed = {**JSON, "dataset": {}}
    assert not lack_files({"c": {"images": [str(there)] * 3}}, listed)
    assert lack_files({"c": {"images": [str(there), "", str(there)]}}, listed)


@pytest.mark.parametrize(
    ("files", "lacks"),
    [
        (["a_0000.png", "b_0001.png", "c_0002.png"], True),  # each case has another modality
        (["a_0000.png", "b_0000.png"], False),  # one file with all channels
        (["any name.png", "scan_2019.png", "x_0003.png"], False),
        (["image_0001.png", "image_0002.png", "image_0003.png", "image_0004.png"], False),  # pictures that are counted
    ],
)
def test_single_files_of_a_list_are_told_by_their_suffix(tmp_path, files, lacks):
    for file in files:
        (tmp_path / file).touch()
    cases = {file: {"images": [str(tmp_path / file)]} for file in files}
    assert lack_files(cases, {**JSON, "dataset": {}}) is lacks


def test_modalities_that_stand_in_place_of_single_files_are_no_file_of_all_channels(tmp_path):
    cases = {case: {"images": [str(tmp_path / name)]} for case, name in (("a", "T1"), ("b", "2"))}
    assert lack_files(cases, {**JSON, "dataset": {}})


def test_configurations_that_take_files_by_position_are_those_of_the_hosts_preprocessor(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=0)
    for configuration in ("2d", "3d_fullres"):
        tiny.plans["configurations"][configuration]["preprocessor_name"] = "DefaultPreprocessor"
    tiny.plans["configurations"]["3d_lowres"]["preprocessor_name"] = "MissingModPreprocessor"
    (tiny.preprocessed / "nnUNetPlans.json").write_text(json.dumps(tiny.plans))
    asked = ["2d", "3d_lowres", "3d_cascade_fullres", "none"]
    assert planned_without_absence(901, "nnUNetPlans", asked) == ["2d", "3d_cascade_fullres"]
    assert planned_without_absence(901, "Others", asked) == []
    assert planned_without_absence(777, "nnUNetPlans", asked) == []
