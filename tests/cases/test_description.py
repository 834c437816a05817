"""Every form of dataset.json: what nnU-Net works with is accepted, anything else refused with the right form."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod.cases.description import (
    DatasetError,
    check_dataset_json,
    check_for_planning,
    check_for_training,
    planning_problems,
    read_dataset_json,
    renamed_channels,
)

RIGHT = {
    "channel_names": {"0": "FLAIR", "1": "T1"},
    "labels": {"background": 0, "tumour": 1},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3}
LISTED = {"a": {"images": ["x.nii.gz", ""], "label": "y.nii.gz"}}


def written(folder, content):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "dataset.json").write_bytes(text)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"channel_names": {"00": "CT", "01": "CT"}},
        {"channel_names": None, "modality": {"0": "MR", "1": "MR"}},
        {"channel_names": {"1": "T1", "0": "FLAIR"}},
        {"labels": {"background": "0", "tumour": "1"}},
        {"labels": {"background": 0, "a": 1, "b": 1, "ignore": 2}},
        {"labels": {"background": 0, "a": [1]}},
        {"labels": {"1": 1, "background": 0}},
        {"labels": REGIONS, "regions_class_order": [1, 2, 3]},
        {"labels": {**REGIONS, "active": 4, "whole": [1, 2, 4]}, "regions_class_order": [1, 2, 4]},
        {"labels": {**REGIONS, "ignore": 4}, "regions_class_order": [1, 2, 3]},
        {"numTraining": "many"},
        {"dataset": LISTED},
        {"dataset": {"a": {"images": {"FLAIR": "x.nii.gz"}, "label": "y.nii.gz"}}},
        {"file_ending": ".TIF"},
    ],
)
def test_what_nnunet_trains_on_is_accepted(change):
    check_for_training({**RIGHT, **change})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channel_names": ["FLAIR", "T1"]}, '"channel_names": {"0": "FLAIR", "1": "T1"}, got'),
        ({"channel_names": {"T1": "1", "FLAIR": "0"}}, '"channel_names": {"0": "FLAIR", "1": "T1"}, got'),
        ({"channel_names": None}, 'names no channels: add for example "channel_names": {"0": "FLAIR"}'),
        ({"channel_names": {}}, "names no channels"),
        ({"channel_names": "FLAIR"}, '"channel_names": {"0": "FLAIR"}, got'),
        ({"channel_names": 5}, '"channel_names": {"0": "5"}, got 5'),
        ({"channel_names": {"0": "FLAIR", "00": "T1"}}, "must be numbered 0..1"),
        ({"channel_names": {"0": None, "1": "T1"}}, 'channel_names gives "0" None, which is no text'),
        ({"labels": {"0": "background", "1": "tumour"}}, 'write "labels": {"background": 0, "tumour": 1}'),
        ({"labels": None}, '"labels" must be as "labels": {"background": 0, "tumour": 1}, got null'),
        ({"labels": ["background", "tumour"]}, 'got ["background", "tumour"]'),
        ({"labels": {}}, "got {}"),
        ({"labels": {"background": 0, "tumour": True}}, '"tumour": true'),
        ({"labels": {"background": 0, "tumour": 1.5}}, '"tumour": 1.5'),
        ({"labels": {"background": 0, "tumour": -1}}, '"tumour": -1'),
        ({"labels": {"background": 0, "tumour": "one"}}, '"tumour": "one"'),
        ({"labels": {"background": 0, "tumour": []}}, '"tumour": []'),
        ({"labels": {"background": 0, "tumour": {"a": 1}}}, '"tumour": {"a": 1}'),
        ({"labels": {"tumour": 1}}, 'must have "background": 0'),
        ({"labels": {"background": 1, "tumour": 0}}, 'must have "background": 0'),
        ({"labels": {"background": [0], "tumour": 1}}, 'must have "background": 0'),
        (
            {"labels": {"background": 0, "a": 1, "b": 4}},
            "0..2 without gaps, in dataset.json and in the label maps, got [0, 1, 4]",
        ),
        ({"labels": {"background": 0, "a": 2, "ignore": 1}}, "must be the highest label, 3, got 1"),
        ({"labels": {"background": 0, "a": 1, "ignore": [2]}}, "must be the highest label, 2, got [2]"),
        (
            {"labels": REGIONS},
            '"regions_class_order" must list 3 labels, those that nnU-Net writes for whole, core, active; got null',
        ),
        ({"labels": REGIONS, "regions_class_order": [1, 2]}, "must list 3 labels"),
        ({"file_ending": "nii.gz"}, 'as "file_ending": ".nii.gz", got "nii.gz"'),
        ({"file_ending": None}, "got null"),
        ({"file_ending": 3}, "got 3"),
        ({"file_ending": ""}, 'got ""'),
        ({"file_ending": "./../../ESC.nii.gz"}, 'must be the end of a file name, as "file_ending": ".nii.gz"'),
        ({"file_ending": "./x.nii.gz"}, "without"),
        ({"file_ending": "..nii.gz"}, "without"),
        ({"file_ending": ".\\x.nii.gz"}, "without"),
        ({"file_ending": ".nii\n.gz"}, "without"),
        ({"file_ending": ".nii\0.gz"}, "without"),
        (
            {"dataset": [1]},
            '"dataset" must list at least one case, as "dataset": {"CASE": {"images": ["flair.nii.gz", ""]',
        ),
        ({"dataset": None}, "got null; or leave it out"),
        ({"dataset": {}}, "got {}; or leave it out"),
        ({"dataset": {"c": {"images": 5, "label": "b"}}}, "but case 'c' has the \"images\" 5; they must be a list"),
        ({"dataset": {"c": {"images": "a.nii.gz", "label": "b"}}}, 'has the "images" "a.nii.gz"; they must be a list'),
        ({"dataset": {"c": {"label": "b"}}}, 'has no "images"; they must be a list of files, or an object by modality'),
        ({"dataset": {"c": 5}}, "but case 'c' is 5, not an object"),
        ({"dataset": {"c": {"images": ["a", 1], "label": "b"}}}, "case 'c' lists 1 among its \"images\""),
        ({"dataset": {"c": {"images": {"T1": [1]}, "label": "b"}}}, 'lists [1] among its "images", which is no path'),
        ({"dataset": {"c": {"images": ["a", "b"], "label": None}}}, "case 'c' has no \"label\""),
        ({"dataset": {"c": {"images": ["a" * 90, "b"]}}}, "but case 'c' has no \"label\"."),
        ({"dataset": {"c": {"images": ["a", "b"], "label": 3}}}, 'has the "label" 3, which is no path'),
        *(
            ({"dataset": {name: {"images": ["a", "b"], "label": "c"}}}, f'"dataset" has the case {name!r}, whose name')
            for name in ("../../x", "..", "a/b", "", "a\\b", ".x", "a\nb", "x" * 300, "x.nii.gz")
        ),
    ],
)
def test_anything_else_is_refused_in_one_sentence_with_the_right_form(tmp_path, change, said):
    with pytest.raises(DatasetError) as refusal:
        read_dataset_json(written(tmp_path, {**RIGHT, **change}))
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path / 'dataset.json'}: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"{", "it is no JSON"),
        (b"[]", r"it holds \[\], not an object"),
        (b"7", "it holds 7, not an object"),
        (b'"\xff"', "it is no text in UTF-8"),
        (json.dumps(RIGHT).encode("utf-16"), "it is no text in UTF-8"),
        (b"[" * 10_000 + b"]" * 10_000, "nested too deeply"),
        (b'{"labels": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b'{"file_ending": ".nii.gz", "labels": ' + b"[" * 960 + b"]" * 960 + b"}", "dataset.json"),
    ],
)
def test_a_file_that_is_no_description_is_refused_with_the_reason(tmp_path, content, said):
    with pytest.raises(DatasetError, match=said):
        read_dataset_json(written(tmp_path, content))


def test_channels_in_another_order_matter_where_their_normalisation_differs():
    turned = {**RIGHT, "channel_names": {"1": "CT", "0": "FLAIR"}}
    check_dataset_json(turned)
    with pytest.raises(ValueError, match=r'normalise FLAIR \(channel 0\) as CT: write .* \{"0": "FLAIR", "1": "CT"\}'):
        check_for_training(turned)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xef\xbb\xbf" + json.dumps(RIGHT).encode(), "byte-order mark, which nnU-Net refuses: save it as UTF-8"),
        ({**RIGHT, "channel_names": {"1": "CT", "0": "FLAIR"}}, "channel_names must be in ascending order"),
        ({**RIGHT, "dataset": {"a": {"images": ["x", None], "label": "y"}}}, "has null for an absent file"),
    ],
)
def test_what_only_nnunets_commands_refuse_is_read_here_and_said_before_planning(tmp_path, content, said):
    read = read_dataset_json(written(tmp_path, content))
    (problem,) = planning_problems(tmp_path, read)
    assert said in problem
    with pytest.raises(DatasetError, match=f"dataset.json: .*{said}"):
        check_for_planning(tmp_path)


@pytest.mark.parametrize("number", [None, "3", 0, 2.0])
def test_planning_needs_the_number_of_cases(tmp_path, number):
    with pytest.raises(DatasetError, match='"numTraining" must be the number of training cases, got'):
        check_for_planning(written(tmp_path, {**RIGHT, "numTraining": number}))


def test_names_that_were_made_unique_are_told_in_one_sentence():
    assert renamed_channels(RIGHT) is None
    assert (
        renamed_channels({"channel_names": {"0": "MR", "1": "MR", "2": "CT"}})
        == "Channels of one name are told apart by their number: MR, MR, CT are called MR_0, MR_1, CT."
    )
