from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation.evaluation_rows import AB, row, rows_of

from nnunet_missingmod.evaluation.aggregation import Column, pool
from nnunet_missingmod.evaluation.detection import detections
from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval
from nnunet_missingmod.evaluation.model_order import orders, ranks
from nnunet_missingmod.evaluation.noninferiority import NonInferiority
from nnunet_missingmod.evaluation.power import Resolution
from nnunet_missingmod.evaluation.report.model_questions import (
    chance_text,
    in_short,
    noninferiority_section,
    order_section,
    power_section,
)
from nnunet_missingmod.evaluation.score_grid import grid_of

QUICK = Bootstrap(resamples=100)
A = Column("A", ((0,),))
NOISE = np.random.default_rng(0).normal(0, 0.01, 12)


def three_models():
    levels = {"ours": 0.7 + NOISE, "theirs": 0.6 - NOISE, "third": 0.6 + NOISE[::-1] - 0.001}
    rows = [each for model, of_model in levels.items() for each in rows_of({"A": tuple(of_model)}, model=model)]
    return pool(rows, modalities=AB)


def test_few_patients_are_warned_of_and_what_they_resolve_is_shown():
    found = [
        Resolution("ours", "theirs", "ET", "average", 12, 0.05, 199.0, 0.045),
        Resolution("ours", "theirs", "WT", "average", 1, math.nan, math.nan, math.nan),
        Resolution("ours", "theirs", "TC", "average", 1, 0.05, 199.0, math.inf),
    ]
    section = power_section(found, [], patients=12, cases=14)
    assert section.text.startswith("Warning: 14 cases of 12 patients are fewer than 50 patients:")
    assert section.tables[0].body == (
        ("ours − theirs", "ET", "average", "12", "5.00", "199", "4.50"),
        ("ours − theirs", "WT", "average", "1", "n/a", "n/a", "n/a"),
        ("ours − theirs", "TC", "average", "1", "5.00", "199", "none"),
    )
    enough = power_section([], [], patients=50, cases=50)
    assert enough.text.startswith("50 cases of 50 patients.")
    assert enough.tables == ()


def test_subsets_with_few_missed_cases_are_counted():
    rows = [row(0.5, case=f"c{case}", subset=subset) for case in range(8) for subset in ("B", "A+B")]
    rows += [row(0.0, case=f"c{case}", subset="A", predicted=0) for case in range(8)]
    rows = [row(0.0, case="c3", subset="B", predicted=0) if (r.case, r.subset) == ("c3", "B") else r for r in rows]
    (table,) = power_section([], detections(grid_of(rows, AB), bootstrap=QUICK), patients=60, cases=60).tables
    assert table.body == (("ET", "ours", "1 of 3"),)


def test_ranks_have_intervals_and_neighbours_the_probability_of_chance():
    values = three_models()
    found = ranks(values, columns=[A], bootstrap=QUICK)
    section = order_section(found, orders(values, columns=[A]), shown_subsets=["A"])
    by_rank, neighbours = section.tables
    assert by_rank.head == ("region", "subset", "ours", "theirs", "third")
    assert by_rank.body == (("ET", "A", "1 (1 to 1)", "2 (2 to 3)", "3 (2 to 3)"),)
    assert [line[0] for line in neighbours.body] == ["ours before theirs", "theirs before third"]
    assert neighbours.body[0][-1] == "< 0.001"
    assert 0.001 < float(neighbours.body[1][-1]) < 0.5


def test_one_model_has_no_order():
    values = pool(rows_of({"A": (0.5, 0.6)}), modalities=AB)
    assert order_section(ranks(values, columns=[A], bootstrap=QUICK), [], shown_subsets=["A"]) is None


def test_models_without_common_cases_have_no_rank_and_no_neighbours():
    rows = [row(0.5, case="c0"), row(0.5, model="theirs", case="c1")]
    values = pool(rows, modalities=AB)
    found = ranks(values, columns=[A], bootstrap=QUICK)
    section = order_section(found, orders(values, columns=[A]), shown_subsets=["A"])
    assert section.tables[0].body == (("ET", "A", "n/a", "n/a"),)
    assert len(section.tables) == 1
    assert "2 scores that some models lack are left out" in section.text


def test_the_verdict_stands_beside_limit_and_margin():
    found = [NonInferiority("ours", "theirs", "ET", Interval(0.001, -0.004, 0.006, 30), 0.01, "non-inferior", 2)]
    section = noninferiority_section(found, margin=1.0)
    assert section.tables[0].body == (
        ("ours − theirs", "ET", "30", "+0.10 (−0.40 to +0.60)", "−0.40", "−1.00", "non-inferior"),
    )
    assert "a margin of 1 points of Dice" in section.text
    assert "2 scores without a partner are left out." in section.text


def test_without_a_margin_there_is_no_verdict_and_without_complete_cases_no_answer():
    assert noninferiority_section([], margin=None) is None
    assert noninferiority_section([], margin=1.0).text.startswith("No answer: it needs the scores of the baseline")


def test_the_terminal_is_told_of_few_patients_and_of_chance():
    lines = in_short(three_models(), A, patients={"c0": "c1"})
    assert lines[0].startswith("Warning: 12 cases of 11 patients are fewer than 50")
    assert lines[1].startswith("ours is before theirs by 10.")
    assert lines[1].endswith("(A, all regions, 11 patients); probability that this order is chance: < 0.001")
    assert len(lines) == 4
    alone = pool([row(0.5), row(0.4, model="theirs")], modalities=AB)
    assert in_short(alone, A) == [
        "Warning: 1 case of 1 patient are fewer than 50 patients: differences of a point or two of Dice are mostly not "
        "resolved."
    ]


@pytest.mark.parametrize(("chance", "text"), [(0.0, "< 0.001"), (0.0312, "0.031"), (0.5, "0.500"), (math.nan, "n/a")])
def test_a_probability_as_text(chance, text):
    assert chance_text(chance) == text
