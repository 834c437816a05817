from __future__ import annotations

import pytest

from nnunet_missingmod.evaluation.conventions import brats_regions, dataset_regions, ignore_label

BRATS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


def test_plain_labels_are_regions_of_one_without_background_and_ignore():
    dataset = {"labels": {"background": 0, "kidney": 1, "tumour": 2, "ignore": 3}}
    assert dataset_regions(dataset) == {"kidney": (1,), "tumour": (2,)}
    assert ignore_label(dataset) == 3


def test_declared_regions_keep_their_order_and_labels():
    labels = {"background": 0, "WT": [1, 2, 3], "TC": [1, 3], "ET": 3, "ignore": 4}
    regions = dataset_regions({"labels": labels, "regions_class_order": [2, 1, 3]})
    assert list(regions.items()) == [("WT", (1, 2, 3)), ("TC", (1, 3)), ("ET", (3,))]


@pytest.mark.parametrize("order", [None, [1], [1, 2, 3]])
def test_regions_without_a_matching_class_order_are_refused(order):
    dataset = {"labels": {"background": 0, "all": [1, 2], "core": [2]}, "regions_class_order": order}
    with pytest.raises(ValueError, match="regions_class_order"):
        dataset_regions(dataset)


@pytest.mark.parametrize("labels", [{}, {"background": 0}, {"background": [0], "ignore": 1}])
def test_a_dataset_without_foreground_is_refused(labels):
    with pytest.raises(ValueError, match="no foreground"):
        dataset_regions({"labels": labels})


@pytest.mark.parametrize("read", [dataset_regions, brats_regions, ignore_label])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, '"labels" in dataset.json must be as "labels": {"background": 0, "tumour": 1}, got None'),
        (["background", "tumour"], "got .'background', 'tumour'."),
        ("tumour", "got 'tumour'"),
        (3, "got 3"),
        (
            {"0": "background", "1": "tumour"},
            'names and numbers exchanged: write "labels": {"background": 0, "tumour": 1}',
        ),
        ({"background": 0, "tumour": None}, "gives 'tumour' the value None"),
        ({"background": 0, "tumour": "one"}, "gives 'tumour' the value 'one'"),
        ({"background": 0, "tumour": 1.5}, "gives 'tumour' the value 1.5"),
        ({"background": 0, "tumour": -1}, "gives 'tumour' the value -1"),
        ({"background": 0, "tumour": True}, "gives 'tumour' the value True"),
        ({"background": 0, "tumour": float("nan")}, "gives 'tumour' the value nan"),
        ({"background": 0, "tumour": []}, r"gives 'tumour' the value \[\]"),
        ({"background": 0, "tumour": [1, [2]]}, r"gives 'tumour' the value \[1, \[2\]\]"),
        ({"background": 0, "tumour": {"label": 1}}, "gives 'tumour' the value {'label': 1}"),
    ],
)
def test_labels_that_are_none_or_wrong_are_refused_with_the_right_form(read, labels, message):
    with pytest.raises(ValueError, match=message):
        read({"labels": labels})
    if labels is None:
        with pytest.raises(ValueError, match=message):
            read({})


@pytest.mark.parametrize("order", [3, "123", {"a": 1}])
def test_a_class_order_of_another_form_is_refused(order):
    dataset = {"labels": {"background": 0, "all": [1, 2], "core": [2], "rim": 1}, "regions_class_order": order}
    with pytest.raises(ValueError, match="needs one label for each of all, core, rim"):
        dataset_regions(dataset)


@pytest.mark.parametrize(
    "names", [("NCR", "ED", "ET"), ("ncr", "ed", "et"), ("NCR/NET", "Edema", "ET"), ("NETC", "SNFH", "ET")]
)
def test_brats_labels_give_the_three_brats_regions(names):
    labels = {"background": 0, **{name: label for label, name in enumerate(names, start=1)}}
    assert brats_regions({"labels": labels}) == BRATS


def test_the_resection_cavity_stays_a_region_of_its_own_and_ignore_is_none():
    labels = {"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4, "ignore": 5}
    assert brats_regions({"labels": labels}) == {**BRATS, "RC": (4,)}


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "ED": 1, "NCR": 2, "ET": 3},
        {"background": 0, "NCR": 1, "ED": 2},
        {"background": 0, "NCR": 1, "ED": 2, "ET": 4},
        {"background": 0, "WT": [1, 2, 3], "TC": [1, 3], "ET": [3]},
    ],
)
def test_other_labels_are_not_taken_for_those_of_brats(labels):
    assert brats_regions({"labels": labels}) is None


def test_an_ignore_label_is_a_single_label_or_absent():
    assert ignore_label({"labels": {"background": 0, "a": 1}}) is None
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        ignore_label({"labels": {"ignore": [2, 3]}})
