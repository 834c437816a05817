"""Values of options are there once, whatever regions and modalities are called."""

from __future__ import annotations

from evaluation.evaluation_rows import AB, BRATS_NAMES

from nnunet_missingmod.evaluation.aggregation import count_columns, subset_columns
from nnunet_missingmod.evaluation.conventions import DICE, NSD
from nnunet_missingmod.evaluation.report.choice import anchors_of, choices_of, each_once, numbered


def options_of(choice):
    return [option for _, options in choice.groups for option in options]


def test_averages_come_first_then_subsets_by_size():
    columns = numbered((*subset_columns(BRATS_NAMES), *count_columns(BRATS_NAMES)[:-1]), BRATS_NAMES)
    _, _, subset = choices_of(("WT",), (DICE,), columns, BRATS_NAMES)
    assert [label for label, _ in subset.groups] == ["averages", *(f"{size} present" for size in (1, 2, 3, 4))]
    assert [len(options) for _, options in subset.groups] == [5, 4, 6, 4, 1]
    assert [option.text for option in options_of(subset)] == [column.heading for column in columns]


def test_regions_and_metrics_are_options_by_name():
    region, metric, _ = choices_of(("WT", "ET"), (DICE, NSD), subset_columns(AB), AB)
    assert [(option.value, option.text) for option in options_of(region)] == [("WT", "WT"), ("ET", "ET")]
    assert [(option.value, option.text) for option in options_of(metric)] == [("dice", "Dice (%)"), ("nsd", "NSD (%)")]


def test_an_option_that_is_called_as_another_has_a_value_of_its_own():
    names = ("average", "1 of 2")
    columns = numbered((*subset_columns(names), *count_columns(names)), names)
    region, _, subset = choices_of(("all", "ET"), (DICE,), columns, names)
    assert [option.value for option in options_of(region)] == ["all-2", "ET"]
    values = [option.value for option in options_of(subset)]
    assert len(set(values)) == len(values) == len(columns)
    assert [option.text for option in options_of(subset)].count("average") == 3


def test_names_are_numbered_until_they_are_free():
    assert each_once(["a", "a", "a-2", "b", "a"], ["b"]) == ["a", "a-2", "a-2-2", "b-2", "a-3"]
    assert each_once([]) == []


def test_an_anchor_is_made_of_letters_and_digits():
    assert anchors_of(["ET ≥ 500", "ET-500", "肿瘤", "+", "Mean of regions"]) == [
        "et-500", "et-500-2", "region", "region-2", "mean-of-regions",
    ]  # fmt: skip
