from __future__ import annotations

import csv
import math

from nnunet_missingmod.evaluation.conventions import DICE, HD95
from nnunet_missingmod.evaluation.report.text import comparison_cells, comparisons_to_csv, p_text
from nnunet_missingmod.evaluation.statistics import Comparison, Interval

ONE = Comparison("ours", "theirs, too", "ET", "A+B", Interval(0.02, -0.01, 0.05, 9), 6, 1, 2, 12.0, 0.03, 0.0004)


def test_csv_has_a_line_for_every_comparison_with_all_its_numbers():
    header, first, second = csv.reader(comparisons_to_csv([(DICE, ONE), (HD95, ONE)]).splitlines())
    found = dict(zip(header, first, strict=True))
    assert found == {
        "metric": "dice", "model": "ours", "baseline": "theirs, too", "region": "ET", "subset": "A+B",
        "difference": "0.02", "low": "-0.01", "high": "0.05", "cases": "9",
        "wins": "6", "ties": "1", "losses": "2", "p": "0.03", "p_holm": "0.0004",
    }  # fmt: skip
    assert second[0] == "hd95_mm"


def test_cells_are_what_a_reader_wants():
    assert comparison_cells(ONE, DICE) == ["+2.00 (−1.00 to +5.00)", "6 / 1 / 2", "0.030", "< 0.001"]
    assert p_text(math.nan) == "n/a"
    assert p_text(1.0) == "1.000"
