"""The page of a shared model: front matter that the Hub reads, and the numbers of the card as they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from nnunet_missingmod.evaluation.model_card import make_card
from nnunet_missingmod.evaluation.scores import ScoreRow
from nnunet_missingmod.inference.advise import ExpectedAccuracy
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.inference.share_page import check_license, license_of, page_of

VERSIONS = {"nnunet_missingmod": "1.2", "nnunetv2": "2.8.1", "torch": "2.9"}


@pytest.fixture
def model(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(("T1", "a|b_*"), num_cases=1)
    return open_model_folder(make_model(tiny, "nnUNetTrainerModalityDropout", configuration="2d"))


def page(model, license="unknown", accuracy=None, **more):
    name = "nnUNetTrainerModalityDropout__nnUNetPlans__2d"
    return page_of(model, name=name, license=license, versions=VERSIONS, accuracy=accuracy, **more)


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
        "tags": ["medical", "nnunet", "image-segmentation", "missing-modalities"],
    }
    assert "License: CC-BY-4.0." in rest
    assert "packed with nnunet_missingmod 1.2, nnunetv2 2.8.1, torch 2.9" in rest
    assert model.fingerprint in rest


def test_the_page_tells_its_license(model):
    assert license_of(page(model, license="CC-BY-4.0")) == "cc-by-4.0"
    assert license_of(page(model).replace('"unknown"', "mit")) == "mit"  # as edited on the Hub
    for text in ("", "license: mit\n---\n", "---\nlicense: no license\n---\n", "---\n---\nlicense: mit\n"):
        assert license_of(text) == ("mit" if text.startswith("license") else "unknown")


def test_the_ignore_label_is_not_segmented(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=1, labels={"background": 0, "a": 1, "b": 2, "ignore": 3})
    model = open_model_folder(make_model(tiny, "nnUNetTrainerModalityDropout", configuration="2d"))
    assert "that segments a, b in " in page(model)


def test_a_license_that_nobody_gave_is_unknown(model):
    text = page(model)
    assert 'license: "unknown"' in text
    assert "ask whoever gave it to you" in text


def test_the_commands_name_another_checkpoint_than_the_last(model):
    assert "predict -m model.zip -i INPUT -o OUTPUT\n" in page(model)
    best = replace(model, checkpoint_name="checkpoint_best.pth")
    assert "predict -m model.zip -chk checkpoint_best.pth -i INPUT -o OUTPUT\n" in page(best)
    assert "predict -m hf://USER/NAME@REVISION -chk checkpoint_best.pth -i INPUT -o OUTPUT\n" in page(best)
    other = replace(model, checkpoint_name="my checkpoint.pth")
    assert "-p nnUNetPlans -chk 'my checkpoint.pth' -i INPUT" in page(other, for_nnunet=True)


def test_the_page_of_a_zip_for_stock_nnunet_says_how_that_is_used(model):
    text = page(model, for_nnunet=True)
    assert "nnUNetv2_install_pretrained_model_from_zip model.zip\n" in text
    named = "-d Dataset901_Tiny -c 2d -tr nnUNetTrainerModalityDropout -p nnUNetPlans"
    assert f"nnunet_missingmod predict {named} -i INPUT -o OUTPUT\n" in text
    assert "-m " not in text
    assert "safetensors" not in text
    assert "use it only with models of people whom you trust" in text


@pytest.mark.parametrize("license", ["", "a b", "x\ny: 1", '"', "http://x"])
def test_a_license_is_an_identifier(license):
    with pytest.raises(ValueError, match=r"as cc-by-4\.0 or apache-2\.0"):
        check_license(license)
    assert check_license("cc-by-nc-sa-4.0") == "cc-by-nc-sa-4.0"


def test_names_are_shown_as_they_are(model):
    assert r"modalities T1, a\|b\_\*." in page(model)


def test_the_page_says_for_which_cases_the_model_was_trained(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=1)

    def said_of(trainer, **block):
        return page(open_model_folder(make_model(tiny, trainer, configuration="2d", **block)))

    any_of = said_of("nnUNetTrainerModalityDropout")
    assert "in cases that have any of the modalities FLAIR, T1, T1ce, T2.\n" in any_of
    assert "\n- trainer: nnUNetTrainerModalityDropout\n" in any_of
    stock = said_of("nnUNetTrainer")
    assert "in cases that have all of the modalities FLAIR, T1, T1ce, T2. Zeros take the place of absent ones" in stock
    assert "\n- trainer: nnUNetTrainer (stock nnU-Net: zeros in place of absent modalities)\n" in stock
    some = said_of("nnUNetTrainerModalityDropout", modality_subset=["T2", "T1"])
    assert "in cases that have T1, T2. Of the modalities FLAIR, T1, T1ce, T2, it was trained on T1, T2 alone" in some
    assert all("any of" not in text for text in (stock, some))


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


@pytest.mark.parametrize("for_nnunet", [False, True])
def test_the_second_stage_of_a_cascade_asks_for_the_firsts_predictions(make_tiny_dataset, make_model, for_nnunet):
    folder = make_model(make_tiny_dataset(num_cases=1), "nnUNetTrainerRDL", configuration="3d_cascade_fullres")
    text = page(open_model_folder(folder), for_nnunet=for_nnunet)
    assert "-o OUTPUT -prev_stage_predictions FOLDER" in text
    assert "FOLDER holds what its first stage (3d_lowres) predicted of the same cases" in text
