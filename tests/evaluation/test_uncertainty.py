"""Calibrations come back from a card as they were; cards without them are read as before, damaged ones refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, random_rows

from nnunet_missingmod.evaluation.agreement_regression import Observations
from nnunet_missingmod.evaluation.conformal import Calibration, CaseInterval, calibrate, held_out
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.model_card import make_card, read_card, write_card
from nnunet_missingmod.evaluation.uncertainty import CalibratedKind

REGIONS = ("WT", "ET")
QUICK = Bootstrap(resamples=100)


def calibration(patients, seed=0):
    rng = np.random.default_rng(seed)
    agreement = rng.uniform(0.3, 1, patients)
    dice = np.clip(agreement - rng.uniform(0, 0.2, patients), 0, 1)
    entries = [(f"p{i:02d}", "A+B", float(a), float(d)) for i, (a, d) in enumerate(zip(agreement, dice, strict=True))]
    return calibrate(held_out(Observations.of(entries)))


def kind(patients=20, **changes):
    groups = {2: {"WT": calibration(patients), "ET": calibration(8)}}
    return CalibratedKind(**{"folds": 1, "tile_step_size": 0.5, "mirroring": True, "groups": groups, **changes})


@pytest.fixture
def path(tmp_path):
    card = make_card(
        random_rows(cases=3, modalities=AB), modalities=AB, bootstrap=QUICK, uncertainty={"subsets": kind()}
    )
    write_card(card, tmp_path / "card.json")
    return tmp_path / "card.json"


def test_calibrations_come_back_as_they_were(path):
    card = read_card(path)
    assert card.uncertainty.keys() == {"subsets"}
    back, made = card.uncertainty["subsets"], kind()
    assert (back.folds, back.tile_step_size, back.mirroring) == (1, 0.5, True)
    assert back.groups[2]["WT"] == made.groups[2]["WT"]
    assert back.groups[2]["ET"].patients == 8
    assert back.groups[2]["ET"].regression is None
    first = path.read_bytes()
    write_card(card, path)
    assert path.read_bytes() == first


def test_a_card_of_before_is_read_as_before(path):
    content = json.loads(path.read_text())
    del content["uncertainty"]
    path.write_text(json.dumps(content))
    assert read_card(path).uncertainty == {}
    assert read_card(path).expected("A").mean.count == 3


def test_each_region_has_its_interval_or_the_reason_why_not():
    found = kind().intervals("A+B", 2, {"WT": 0.8, "ET": 0.8})
    assert isinstance(found["WT"], CaseInterval)
    assert found["WT"].low < found["WT"].dice < found["WT"].high
    assert found["ET"] == "it was calibrated on 8 patients, and an interval of 90 % needs 9"
    assert kind().intervals("A", 1, {"WT": 0.8}) == {}
    assert kind().intervals("A+B", 2, {})["WT"] == "its agreement is not known"


def test_calibrations_of_too_few_patients_are_none():
    assert kind().has_any
    assert not kind(groups={2: {"WT": calibration(8), "ET": Calibration(0, 0)}}).has_any


GROUP = ("kinds", "subsets", "by_number", "2", "WT")


@pytest.mark.parametrize(
    ("keys", "to", "message"),
    [
        (("version",), 2, "'version' of uncertainty is 2, this package reads up to 1"),
        (("version",), None, "'version' of uncertainty, the file is None and not a number"),
        (("kinds",), [], "'kinds' of uncertainty, the file is .. and not an object"),
        (("kinds", "dreams"), {}, "the kind 'dreams', and there are folds and subsets"),
        (("kinds", "subsets", "folds"), 1.5, "'folds' of subsets, kinds.* is 1.5 and not a whole number"),
        (("kinds", "subsets", "folds"), 0, "'folds' of subsets, kinds.* is 0, which is below 1"),
        (("kinds", "subsets", "mirroring"), 1, "'mirroring' of subsets.* is 1 and not true or false"),
        (("kinds", "subsets", "by_number", "two"), {}, "the number 'two'"),
        (GROUP, None, "'WT' of 2, by_number.* is None and not an object"),
        ((*GROUP, "patients"), -1, "'patients' of WT.* is -1"),
        ((*GROUP, "confidence"), 95, "'confidence' of WT.* is 95, which is outside of 0..1"),
        ((*GROUP, "half_width"), float("nan"), "'half_width' of WT.* is nan"),
        ((*GROUP, "subsets", "A+B", "dice"), 1.2, "'dice' of A.B.* is 1.2, which is outside of 0..1"),
        ((*GROUP, "knots", "agreement"), [], "'agreement' of knots.* is empty"),
        ((*GROUP, "knots", "agreement"), [0.2, 0.2], "'agreement' of knots.* holds 0.2 after 0.2"),
        ((*GROUP, "knots", "dice"), [0.2, 0.1], "'dice' of knots.* holds 0.1 after 0.2"),
        ((*GROUP, "knots", "dice"), [0.2, "x"], "'1' of dice, knots.* is 'x' and not a number"),
        ((*GROUP, "knots", "dice"), [0.2], "knots.* has [0-9]+ values of agreement and 1 of Dice"),
        ((*GROUP, "coverage", "share"), 94.0, "'share' of coverage.* is 94.0"),
    ],
)
def test_an_impossible_value_is_refused_by_name(path, keys, to, message):
    content = json.loads(path.read_text())
    place = content["uncertainty"]
    for key in keys[:-1]:
        place = place[key]
    if to is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = to
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"card.json is no model card that can be used: .*{message}"):
        read_card(path)
