"""The page of a shared model: front matter that the Hub reads, and the numbers of the card as they are."""

from __future__ import annotations

import pytest
import yaml

from nnunet_missingmod.evaluation.model_card import make_card
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.inference.advise import ExpectedAccuracy
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.inference.share_page import check_license, page_of

VERSIONS = {"nnunet_missingmod": "1.2", "nnunetv2": "2.8.1", "torch": "2.9"}


@pytest.fixture
def model(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(("T1", "a|b_*"), num_cases=1)
    return open_model_folder(make_model(tiny, "nnUNetTrainerModalityDropout", configuration="2d"))


def page(model, license="unknown", accuracy=None):
    return page_of(model, name="X__nnUNetPlans__2d", license=license, versions=VERSIONS, accuracy=accuracy)


def accuracy_of(modalities):
    from nnunet_missingmod.modalities import all_subsets, subset_name

    subsets = [subset_name(subset, modalities) for subset in all_subsets(len(modalities))]
    rows = [
        ScoreRow("m", "0", case, subset, 1, "WT", dice, *(1, 1, 1, 9, 9, 30))
        for subset in subsets
        for case, dice in zip("abcdef", (0.25, 0.75) * 3, strict=True)
    ]
    return ExpectedAccuracy(make_card(rows, modalities=modalities, provenance={"cases": "test folder <x>"}))


def test_the_front_matter_is_what_the_hub_reads(model):
    _, front, rest = page(model, license="CC-BY-4.0").split("---\n", 2)
    read = yaml.safe_load(front)
    assert read == {
        "license": "cc-by-4.0",
        "library_name": "nnunet_missingmod",
        "pipeline_tag": "image-segmentation",
        "tags": ["medical", "mri", "nnunet", "image-segmentation", "missing-modalities"],
    }
    assert "License: CC-BY-4.0." in rest
    assert "packed with nnunet_missingmod 1.2, nnunetv2 2.8.1, torch 2.9" in rest
    assert model.fingerprint in rest


def test_a_license_that_nobody_gave_is_unknown(model):
    text = page(model)
    assert 'license: "unknown"' in text
    assert "ask whoever gave it to you" in text


@pytest.mark.parametrize("license", ["", "a b", "x\ny: 1", '"', "http://x"])
def test_a_license_is_an_identifier(license):
    with pytest.raises(ValueError, match=r"as cc-by-4\.0 or apache-2\.0"):
        check_license(license)
    assert check_license("cc-by-nc-sa-4.0") == "cc-by-nc-sa-4.0"


def test_names_are_shown_as_they_are(model):
    assert r"modalities T1, a\|b\_\*." in page(model)


def test_the_table_has_the_numbers_of_the_card(model):
    text = page(model, accuracy=accuracy_of(("T1", "T2")))
    assert r"on 6 cases: test folder \<x\>." in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == "| modalities | mean | WT |"
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| T1", "| T2", "| T1+T2"]
    assert all(row.split(" | ")[1].startswith("50.0 (") for row in rows[2:])
    assert "other subsets" not in text


def test_many_subsets_are_cut_and_that_is_said(model):
    text = page(model, accuracy=accuracy_of(("A", "B", "C", "D", "E", "F")))
    assert text.count("\n| ") == 31 + 2
    assert "32 other subsets are in the model's card." in text


def test_a_model_without_a_card_says_so(model):
    assert "It has not been measured: the model has no card." in page(model)
