"""Agreement is the mean Dice with other predictions of the case, wherever its foreground lies."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.evaluation.agreement import (
    AgreementRow,
    CroppedLabels,
    agreement_with,
    comparable,
    dice_between,
    one_less,
    pairwise_agreement,
    read_agreement,
    write_agreement,
)
from nnunet_missingmod.evaluation.metrics import region_dice
from nnunet_missingmod.modalities import all_subsets

REGIONS = {"WT": (1, 2), "TC": (2,)}


def line(*labels):
    """A label map of one axis, cropped."""
    return CroppedLabels.of(np.array(labels))


def test_the_mean_dice_with_the_others():
    prediction = line(0, 1, 1, 2, 2, 0)
    others = [line(0, 1, 1, 2, 0, 0), line(0, 0, 0, 0, 2, 2)]
    expected = {"WT": (6 / 7 + 2 / 6) / 2, "TC": (2 / 3 + 2 / 4) / 2}
    assert agreement_with(prediction, others, REGIONS) == pytest.approx(expected)


def test_the_mean_dice_over_pairs():
    maps = [line(1, 1, 0), line(1, 0, 0), line(0, 1, 1)]
    assert pairwise_agreement(maps, {"WT": (1,)})["WT"] == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)


def test_what_both_leave_empty_is_agreed_on_and_what_one_leaves_empty_is_not():
    nothing, some = line(0, 0, 0), line(0, 1, 0)
    assert dice_between(nothing, nothing, REGIONS) == {"WT": 1.0, "TC": 1.0}
    assert dice_between(nothing, some, REGIONS) == dice_between(some, nothing, REGIONS) == {"WT": 0.0, "TC": 1.0}


def test_cropping_changes_no_dice():
    rng = np.random.default_rng(0)
    for shape in ((7,), (6, 5), (5, 6, 7)):
        maps = []
        for _ in range(4):
            labels = np.zeros(shape, np.int64)
            corner = tuple(slice(int(rng.integers(n)), None) for n in shape)
            labels[corner] = rng.integers(0, 3, labels[corner].shape)
            maps.append(labels)
        for one in maps:
            for other in maps:
                expected = region_dice(one, other, REGIONS)
                assert dice_between(CroppedLabels.of(one), CroppedLabels.of(other), REGIONS) == expected


def test_labels_that_no_byte_holds_are_kept():
    one = CroppedLabels.of(np.array([0, 300, 300]))
    assert dice_between(one, line(0, 44, 300), {"a": (300,), "b": (44,)}) == {"a": pytest.approx(2 / 3), "b": 0.0}


@pytest.mark.parametrize("modalities", [1, 3, 7])
def test_every_subset_of_two_or_more_is_compared_with_each_that_lacks_one(modalities):
    rng = np.random.default_rng(modalities)
    maps = {subset: CroppedLabels.of(rng.integers(0, 3, 30)) for subset in all_subsets(modalities)}
    found = comparable(maps)
    assert set(found) == {subset for subset in maps if len(subset) > 1}
    for subset, others in found.items():
        assert others == one_less(subset)
        assert {len(set(subset) - set(other)) for other in others} == {1}
        assert len(set(others)) == len(subset)
    full = tuple(range(modalities))
    if modalities > 1:
        dice = [dice_between(maps[full], maps[each], REGIONS)["TC"] for each in found[full]]
        agreement = agreement_with(maps[full], [maps[each] for each in found[full]], REGIONS)
        assert agreement["TC"] == pytest.approx(np.mean(dice))


def test_a_subset_of_which_a_smaller_one_is_not_there_has_none():
    assert comparable([(0,), (1,), (0, 1), (0, 2), (0, 1, 2)]) == {(0, 1): [(1,), (0,)]}
    assert comparable([]) == {}


def test_too_few_predictions_are_refused():
    with pytest.raises(ValueError, match="two predictions or more, got 1"):
        pairwise_agreement([line(1)], REGIONS)
    with pytest.raises(ValueError, match="got none"):
        agreement_with(line(1), [], REGIONS)


def test_rows_are_a_file_from_which_they_are_read_back(tmp_path):
    rows = [AgreementRow("a,b", "0", "case 1", "T1+T2", 2, "WT", "subsets", 0.25)]
    write_agreement(rows, tmp_path / "agreement.csv")
    assert (tmp_path / "agreement.csv").read_text().splitlines() == [
        "model,fold,case,subset,num_present,region,kind,agreement",
        '"a,b",0,case 1,T1+T2,2,WT,subsets,0.25',
    ]
    assert read_agreement(tmp_path / "agreement.csv") == rows
