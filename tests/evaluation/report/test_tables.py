from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, BRATS_NAMES, random_rows, row, rows_of

from nnunet_missingmod.evaluation.aggregation import count_columns, pool, subset_columns
from nnunet_missingmod.evaluation.conventions import HD95, NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.report.tables import AGREES, DISAGREES, region_table, table_of
from nnunet_missingmod.evaluation.statistics import compare
from nnunet_missingmod.modalities import subset_name

QUICK = Bootstrap(resamples=200)


def test_cells_are_means_over_cases_and_the_average_is_over_subsets():
    rows = random_rows(models=("ours", "theirs"))
    columns = subset_columns(BRATS_NAMES)
    table = region_table(rows, columns, modalities=BRATS_NAMES)
    assert [(line.region, line.model) for line in table.rows] == [
        ("WT", "ours"), ("WT", "theirs"), ("ET", "ours"), ("ET", "theirs"),
    ]  # fmt: skip
    names = [subset_name(column.subsets[0], BRATS_NAMES) for column in columns[:-1]]
    for line in table.rows:
        own = [each for each in rows if (each.region, each.model) == (line.region, line.model)]
        expected = [fmean(each.dice for each in own if each.subset == name) for name in names]
        assert line.values == pytest.approx([*expected, fmean(expected)])
        assert line.counts == (3,) * 16
        assert line.intervals == line.p_holm == line.marks == ()


def test_the_table_by_number_of_present_modalities_averages_the_subsets_of_a_size():
    rows = random_rows()
    table = region_table(rows, count_columns(BRATS_NAMES), modalities=BRATS_NAMES)
    own = [each for each in rows if each.region == "ET"]
    expected = [fmean(each.dice for each in own if each.num_present == size) for size in (1, 2, 3, 4)]
    (line,) = [line for line in table.rows if line.region == "ET"]
    assert line.values == pytest.approx([*expected, fmean(each.dice for each in own)])


def test_two_empty_masks_count_in_one_convention_and_not_in_the_other():
    rows = rows_of({"A": (0.5, None), "B": (0.2, 0.4), "A+B": (1.0, 1.0)})
    columns = subset_columns(AB)
    (brats,) = region_table(rows, columns, modalities=AB).rows
    assert brats.values == pytest.approx((0.75, 0.3, 1.0, (0.75 + 0.3 + 1.0) / 3))
    assert brats.counts == (2, 2, 2, 2)
    (nnunet,) = region_table(rows, columns, modalities=AB, convention=NNUNET).rows
    assert nnunet.values == pytest.approx((0.5, 0.3, 1.0, 0.6))
    assert nnunet.counts == (1, 2, 2, 1)


def test_an_average_over_fewer_subsets_is_not_given():
    rows = rows_of({"A": (None, None), "A+B": (1.0, 1.0)})
    (line,) = region_table(rows, subset_columns(AB), modalities=AB, convention=NNUNET).rows
    np.testing.assert_array_equal(line.values, (math.nan, math.nan, 1.0, math.nan))
    assert line.counts == (0, 0, 2, 0)
    (line,) = region_table(rows, count_columns(AB), modalities=AB, convention=NNUNET).rows
    np.testing.assert_array_equal(line.values, (math.nan, 1.0, math.nan))


def test_a_difference_is_the_mean_over_cases_that_both_models_have():
    ours = rows_of({"A": (0.9, 0.5, 0.7), "B": (0.5, 0.5), "A+B": (0.5, 0.5)})
    theirs = rows_of({"A": (0.8, None), "B": (0.25, 0.5), "A+B": (0.75, 0.5)}, model="theirs")
    table = region_table(
        ours + theirs,
        subset_columns(AB),
        modalities=AB,
        differences=[("ours", "theirs"), ("theirs", "ours")],
        convention=NNUNET,
    )
    assert [line.is_difference for line in table.rows] == [False, False, True, True]
    difference, reverse = table.rows[2:]
    assert difference.model == "ours − theirs"
    assert difference.values == pytest.approx((0.1, 0.125, -0.125, 0.1 / 3))
    assert difference.counts == (1, 2, 2, 1)
    assert reverse.values == pytest.approx([-value for value in difference.values])


def test_with_a_bootstrap_cells_have_intervals_and_differences_tests():
    values = pool(random_rows(models=("ours", "theirs"), cases=9), modalities=BRATS_NAMES)
    columns = count_columns(BRATS_NAMES)
    table = table_of(values, columns, differences=[("ours", "theirs")], bootstrap=QUICK)
    first, _, difference = table.rows[:3]
    assert first.intervals[0] == QUICK.interval(values.of("ours", ["WT"], columns[0].subsets))
    assert first.p_holm == ()
    compared = compare(values, model="ours", baseline="theirs", columns=columns, bootstrap=QUICK)
    assert list(table.comparisons) == compared
    assert list(difference.intervals) == [each.difference for each in compared[:5]]
    assert list(difference.p_holm) == [each.p_holm for each in compared[:5]]
    assert table.confidence == 0.95


def test_regions_can_be_averaged():
    rows = random_rows(cases=4)
    values = pool(rows, modalities=BRATS_NAMES)
    table = table_of(values, count_columns(BRATS_NAMES), regions={"ET": ["ET"], "mean": ["WT", "ET"]})
    assert [line.region for line in table.rows] == ["ET", "mean"]
    assert table.rows[1].values[0] == pytest.approx(fmean(each.dice for each in rows if each.num_present == 1))


def test_a_mark_says_whether_the_ranks_agree_with_the_mean():
    columns = subset_columns(AB, scored=[(0,)])[:1]

    def mark(differences):
        ours = rows_of({"A": [0.5 + each for each in differences]})
        theirs = rows_of({"A": [0.5] * len(differences)}, model="theirs")
        values = pool(ours + theirs, modalities=AB)
        table = table_of(values, columns, differences=[("ours", "theirs")], bootstrap=QUICK)
        return table.rows[-1].marks[0], table.note()

    wins = [0.01 + 0.001 * i for i in range(12)]
    assert mark(wins)[0] == AGREES
    assert mark([-each for each in wins])[0] == AGREES
    few, note = mark(wins[:4])
    assert few == ""
    assert AGREES not in note
    # One great loss outweighs all wins in the mean, but not in the ranks.
    outweighed, note = mark([*wins, -0.45])
    assert outweighed == DISAGREES
    assert "the other way than the mean" in note


def test_the_note_says_metric_convention_intervals_and_counts():
    values = pool(rows_of({"A": (0.5, None), "B": (0.2, 0.4)}), modalities=AB, convention=NNUNET)
    note = table_of(values, subset_columns(AB, scored=values.scored)).note()
    assert note.startswith("Dice (%), mean over cases; undefined and left out")
    assert "1 to 2 of 2." in note
    assert "interval" not in note
    alone = pool(rows_of({"A": (0.5, None), "B": (0.2, None)}), modalities=AB, convention=NNUNET)
    assert "whose score is defined: 1 of 2." in table_of(alone, subset_columns(AB, scored=alone.scored)).note()
    full = pool(rows_of({"A": (0.5, 0.1), "B": (0.2, 0.4)}), modalities=AB)
    assert "whose score is defined" not in table_of(full, subset_columns(AB, scored=full.scored)).note()
    distances = pool([row(0.5)], modalities=AB, metric=HD95)
    table = table_of(distances, subset_columns(AB), bootstrap=Bootstrap(confidence=0.9))
    assert "HD95 (mm)" in table.note()
    assert "the image's diagonal where one of them is" in table.note()
    assert "90 % confidence" in table.note()
    assert "confidence" not in table.note(intervals=False)


def test_the_note_does_not_say_of_files_of_scores_what_their_empty_masks_score():
    outside = rows_of({"A": (0.5, 0.1)}, model="outside", reference=-1, predicted=-1, voxel_mm3=math.nan)
    rows = [*rows_of({"A": (0.2, 0.4)}), *outside]
    both = region_table(rows, subset_columns(AB)[:1], modalities=AB, differences=[("ours", "outside")])
    assert "where one of them is; those of outside, what their files of scores say." in both.note()
    alone = region_table(outside, subset_columns(AB)[:1], modalities=AB)
    assert alone.note().startswith("Dice (%), mean over cases; empty masks score what the files of scores say.")


def test_rows_that_make_no_table_are_refused():
    columns = subset_columns(AB)
    rows = rows_of({"A": (0.5,)})
    with pytest.raises(ValueError, match="no score rows"):
        region_table([], columns, modalities=AB)
    with pytest.raises(ValueError, match="scored twice"):
        region_table(rows + rows, columns, modalities=AB)
    with pytest.raises(ValueError, match="'other' has no score rows; the models are ours"):
        region_table(rows, columns, modalities=AB, differences=[("ours", "other")])
