"""A raw dataset is found by id, name or folder, and its cases are listed whether or not they are complete."""

from __future__ import annotations

import json
import re

import pytest
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_missingmod.cases.dataset import (
    DatasetError,
    dataset_problems,
    find_dataset,
    find_listed_case,
    find_raw_cases,
    label_values,
    lacking_modalities,
    presence_table,
    read_dataset_json,
)
from nnunet_missingmod.cases.files import CaseFiles


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=2)


def test_dataset_is_found_by_id_name_or_folder(tiny, monkeypatch):
    for given in ("901", "Dataset901_Tiny", str(tiny.raw)):
        assert find_dataset(given) == tiny.raw
    with pytest.raises(DatasetError, match=r"There is no dataset Dataset902_\* in .* there: Dataset901_Tiny"):
        find_dataset("902")
    (tiny.raw.parent / "Dataset901_Other").mkdir()
    with pytest.raises(DatasetError, match=r"There are 2 datasets .*: Dataset901_Other, Dataset901_Tiny. Give one"):
        find_dataset("901")
    monkeypatch.delenv("nnUNet_raw")
    with pytest.raises(DatasetError, match="nnUNet_raw is not set"):
        find_dataset("901")


def test_a_file_beside_a_dataset_is_none(tiny):
    for name in ("Dataset901_Tiny.zip", "Dataset902_Other.zip"):
        (tiny.raw.parent / name).touch()
    assert find_dataset("901") == tiny.raw
    for given in ("902", "Dataset902_Other.zip"):
        with pytest.raises(DatasetError, match=r"There is no dataset Dataset902.*there: Dataset901_Tiny\.$"):
            find_dataset(given)


@pytest.mark.parametrize("given", ["**", "*", "Dataset9??_Tiny", "Dataset901_*", "[D]ataset901_Tiny", ".."])
def test_what_is_given_is_no_pattern(tiny, given):
    with pytest.raises(DatasetError, match=re.escape(f"There is no dataset {given} in {tiny.raw.parent}. ")):
        find_dataset(given)


def test_the_folder_one_is_in_is_given_by_a_dot(tiny, monkeypatch):
    monkeypatch.chdir(tiny.raw)
    assert find_dataset(".").resolve() == tiny.raw
    monkeypatch.chdir(tiny.raw.parent)
    with pytest.raises(DatasetError, match="dataset.json cannot be read: .* Give the folder of a raw dataset"):
        read_dataset_json(find_dataset("."))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ('{"labels": {}, "channel_names": {"0": "A"}}', "has no file_ending"),
        ('{"labels": {}, "file_ending": ".nii.gz"}', "names no channels"),
        ('{"labels": {}, "file_ending": ".nii.gz", "channel_names": {"1": "A"}}', "must be numbered 0..0"),
        ('{"labels": {}, "file_ending": ".nii.gz", "channel_names": ["A"]}', "dataset.json: "),
        (
            '{"labels": [0], "file_ending": ".nii.gz", "channel_names": {"0": "A"}}',
            r'"labels" must be as "labels": \{"background": 0',
        ),
        (
            '{"labels": {"a": "x"}, "file_ending": ".nii.gz", "channel_names": {"0": "A"}}',
            "gives each name a whole number from 0",
        ),
        ("[]", r"it holds \[\], not an object in curly brackets"),
    ],
)
def test_dataset_json_that_cannot_be_used_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DatasetError, match=said):
        read_dataset_json(tmp_path)


def test_label_values_are_those_of_labels_regions_and_ignore():
    labels = {"background": 0, "whole": [1, 2, 3], "core": (2, 3), "ignore": 4}
    assert label_values({"labels": labels}) == {0, 1, 2, 3, 4}


def test_cases_of_both_splits_with_their_label_maps(tiny):
    tiny.image("case_001", 0).unlink()
    (tiny.raw / "imagesTs").mkdir()
    for name in ("new_0002.nii.gz", "other_0001.nii.gz"):
        (tiny.raw / "imagesTs" / name).touch()
    (tiny.raw / "labelsTs").mkdir()
    (tiny.raw / "labelsTs" / "new.nii.gz").touch()
    cases, labels = find_raw_cases(tiny.raw, tiny.dataset_json)
    assert [(split, case.case, tuple(case.files)) for split, case in cases] == [
        ("Tr", "case_000", (0, 1, 2, 3)),
        ("Tr", "case_001", (1, 2, 3)),
        ("Ts", "new", (2,)),
        ("Ts", "other", (1,)),
    ]
    assert labels == {
        ("Tr", "case_000"): tiny.label("case_000"),
        ("Tr", "case_001"): tiny.label("case_001"),
        ("Ts", "new"): tiny.raw / "labelsTs" / "new.nii.gz",
    }


def test_cases_that_dataset_json_lists_wherever_they_lie(tiny, monkeypatch):
    monkeypatch.setenv("ELSEWHERE", str(tiny.raw / "imagesTr"))
    entries = {
        "one": {"images": ["$ELSEWHERE/case_000_0003.nii.gz"], "label": "labelsTr/case_000.nii.gz"},
        "two": {"images": ["imagesTr/case_001_0004.nii.gz"], "label": str(tiny.label("case_001"))},
    }
    cases, labels = find_raw_cases(tiny.raw, {**tiny.dataset_json, "dataset": entries})
    assert cases[0][1].files == {3: tiny.image("case_000", 3)}
    assert "channel 4, but the dataset has channels 0..3" in cases[1][1].problems[0]
    assert labels == {("Tr", "one"): tiny.label("case_000"), ("Tr", "two"): tiny.label("case_001")}


def test_wrong_number_and_lonely_label_maps_are_problems(tiny):
    cases, labels = find_raw_cases(tiny.raw, tiny.dataset_json)
    assert dataset_problems(tiny.raw, tiny.dataset_json, cases, labels) == []
    (tiny.raw / "labelsTr" / "gone.nii.gz").touch()
    wrong = {**tiny.dataset_json, "numTraining": 7}
    number, lonely = dataset_problems(tiny.raw, wrong, cases, labels)
    assert '"numTraining" is 7, but there are 2 training cases' in number
    assert "labelsTr has label maps without images: gone.nii.gz" in lonely
    assert "has no training case. Expected per case" in dataset_problems(tiny.raw, wrong, [], {})[0]


def test_hidden_files_that_nnunet_takes_for_cases_are_problems(tiny):
    for folder, name in (("imagesTr", "._case_000_0000.nii.gz"), ("labelsTr", "._case_000.nii.gz")):
        (tiny.raw / folder / name).touch()
    (tiny.raw / "imagesTr" / ".DS_Store").touch()
    given = find_raw_cases(tiny.raw, tiny.dataset_json)
    (problem,) = dataset_problems(tiny.raw, tiny.dataset_json, *given)  # nnU-Net asks for labels by the cases' names
    assert "imagesTr has hidden files, which nnU-Net takes for cases: ._case_000_0000.nii.gz. Remove them" in problem
    entries = {case: {"images": tiny.images(case), "label": str(tiny.label(case))} for case in tiny.cases}
    listing = {**tiny.dataset_json, "dataset": entries}  # nnU-Net then looks into neither
    assert dataset_problems(tiny.raw, listing, *find_raw_cases(tiny.raw, listing)) == []


def test_modalities_that_no_case_has_are_named_with_what_to_do():
    names = ("FLAIR", "T1", "T2")
    assert lacking_modalities([[0], [2, 1]], names) is None
    assert lacking_modalities([["FLAIR"], ["T2", "T1"]], names) is None
    for present in ([[1], [1]], [["T1"], []]):
        said = lacking_modalities(present, names)
        assert said is not None
        assert said.startswith("No training case has FLAIR (channel 0), T2 (channel 2); ")
        assert "or add cases that have it" in said


def test_a_file_that_is_listed_for_several_cases_is_a_problem(tiny):
    one, two = ({"images": tiny.images(case), "label": str(tiny.label(case))} for case in tiny.cases)
    two["images"] = [one["images"][0], *two["images"][1:]]
    listing = {**tiny.dataset_json, "dataset": {"one": one, "two": two, "three": {**two, "images": two["images"][1:]}}}
    problems = dataset_problems(tiny.raw, {**listing, "numTraining": 3}, *find_raw_cases(tiny.raw, listing))
    assert f"{tiny.image('case_000', 0)} is a file of several cases: one, two." in problems
    assert f"{tiny.label('case_001')} is a file of several cases: two, three." in problems
    assert not [problem for problem in problems if str(tiny.image("case_000", 1)) in problem]


def test_presence_is_written_by_channels_or_by_names():
    by_channel = [("a", "Tr", (0, 2)), ("b, c", "Ts", ())]
    by_name = [("a", "Tr", ("T2", "FLAIR")), ("b, c", "Ts", ())]
    expected = 'case,split,FLAIR,T1,T2\na,Tr,1,0,1\n"b, c",Ts,0,0,0\n'
    assert presence_table(by_channel, ("FLAIR", "T1", "T2")) == expected
    assert presence_table(by_name, ("FLAIR", "T1", "T2")) == expected


def test_it_is_json_that_nnunet_wrote(tiny):
    assert read_dataset_json(tiny.raw) == json.loads((tiny.raw / "dataset.json").read_text())


def listed(tiny, images, case="one"):
    """The case that an entry of ``"dataset"`` stands for."""
    entry = {case: {"images": images, "label": "labelsTr/case_000.nii.gz"}}
    ((_, found),) = find_raw_cases(tiny.raw, {**tiny.dataset_json, "dataset": entry})[0]
    return found


@pytest.fixture
def series(tiny):
    """Files whose names say nothing of their channel: {channel: path in the dataset}."""
    for channel in range(4):
        tiny.image("case_000", channel).rename(tiny.raw / f"SE{channel}.nii.gz")
    return {channel: tiny.raw / f"SE{channel}.nii.gz" for channel in range(4)}


@pytest.mark.parametrize(
    "images",
    [
        ["SE0.nii.gz", "", "SE2.nii.gz", ""],
        ["SE0.nii.gz", None, "SE2.nii.gz", None],
        {"T1ce": "SE2.nii.gz", "FLAIR": "SE0.nii.gz"},
        {"2": "SE2.nii.gz", "0": "SE0.nii.gz", "T2": "", "t1": None},
    ],
)
def test_listed_files_have_their_channel_from_their_place_or_their_name(tiny, series, images):
    assert listed(tiny, images) == CaseFiles("one", {0: series[0], 2: series[2]})


def test_listed_files_in_order_are_taken_as_nnunet_takes_them_whatever_their_suffix(tiny):
    images = [f"imagesTr/case_001_{channel:04d}.nii.gz" for channel in (3, 2, 1, 0)]
    assert listed(tiny, images).files == {channel: tiny.image("case_001", 3 - channel) for channel in range(4)}


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (["SE0.nii.gz", "gone.nii.gz", "", ""], r"gone.nii.gz \(T1\), which dataset.json lists, does not exist"),
        (
            ["SE0.nii.gz", "SE1.nii.gz"],
            'List 4 files in "images" of dataset.json, in channel order, "" for an absent one',
        ),
        (["", "", "", ""], "lists no image of it. List at least one of: FLAIR, T1, T1ce, T2"),
        ([], "lists no image of it"),
        ({}, "lists no image of it"),
        ({"T3": "SE0.nii.gz"}, "'T3' is no modality of FLAIR, T1, T1ce, T2; did you mean"),
        ({"7": "SE0.nii.gz"}, "'7' is no modality"),
        ({"FLAIR": "SE0.nii.gz", "0": "SE1.nii.gz"}, "'0' in dataset.json is FLAIR a second time"),
    ],
)
def test_a_listed_case_that_cannot_be_used_says_how_to_list_it(tiny, series, images, said):
    found = listed(tiny, images)
    assert found.files == {}
    assert re.search(said, " ".join(found.problems))


def test_a_listed_case_is_found_by_what_nnunet_makes_of_it(tiny, series):
    tiny.label("case_001").rename(tiny.raw / "seg.nii.gz")
    entries = {
        "in order": {"images": ["SE0.nii.gz", "", "", "SE3.nii.gz"], "label": "labelsTr/case_000.nii.gz"},
        "by name": {"images": {"T2": "SE3.nii.gz"}, "label": "seg.nii.gz"},
    }
    content = {**tiny.dataset_json, "dataset": entries}
    (tiny.raw / "dataset.json").write_text(json.dumps(content))
    of_host = get_filenames_of_train_images_and_targets(str(tiny.raw))
    found = [find_listed_case(of_host[case]["images"], of_host[case]["label"], tiny.raw) for case in entries]
    assert found == [CaseFiles("in order", {0: series[0], 3: series[3]}), CaseFiles("by name", {3: series[3]})]
    assert find_listed_case(of_host["by name"]["images"], "other.nii.gz", tiny.raw) is None
    content["dataset"]["again"] = {"images": {"T2": "SE1.nii.gz"}, "label": "seg.nii.gz"}
    (tiny.raw / "dataset.json").write_text(json.dumps(content))
    ambiguous = find_listed_case(of_host["by name"]["images"], of_host["by name"]["label"], tiny.raw)
    assert "case 'again' has the same label map" in ambiguous.problems[0]
