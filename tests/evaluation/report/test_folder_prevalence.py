"""The mean that is weighted by prevalence stands beside the other average, in tables, figures and the page."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from evaluation.evaluation_rows import rows_of

from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.prevalence import HEADING
from nnunet_missingmod.evaluation.report import folder as module
from nnunet_missingmod.evaluation.report.folder import write_report

SCORES = {"A": [0.2, 0.4] * 3, "B": [0.5, 0.7] * 3, "A+B": [0.8] * 6}


def table(folder, name):
    with (folder / "tables" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def write(folder, rows, **more):
    return write_report(rows, folder, modalities=("A", "B"), bootstrap=Bootstrap(resamples=100), **more)


def test_it_is_a_column_of_every_table_with_its_interval_and_without_a_test(tmp_path):
    both = [*rows_of(SCORES), *rows_of(SCORES, model="other")]
    page = write(tmp_path, both, pairs=[("other", "ours")], prevalence={(0,): 1, (1,): 1})
    for name in ("dice_by_subset", "dice_by_count"):
        ours, _, difference = table(tmp_path, name)
        assert float(ours["average"]) == pytest.approx((0.3 + 0.6 + 0.8) / 3)
        assert float(ours[HEADING]) == pytest.approx((0.3 + 0.6) / 2)
        expected = Bootstrap(resamples=100).interval(np.array([[0.35], [0.55]] * 3))
        assert float(ours[f"{HEADING} low"]) == pytest.approx(expected.low)
        assert 0.35 <= expected.low < 0.45
        assert float(difference[HEADING]) == 0
        assert difference[f"{HEADING} p Holm"] == "nan"
        # Both subsets have one modality: their uniform mean is a test of its own, under its own name.
        assert float(difference["average p Holm"]) == 1
    compared = (tmp_path / "tables" / "comparisons.csv").read_text()
    assert HEADING not in compared
    assert HEADING in page.read_text(encoding="utf-8")


def test_some_subsets_have_it_too_and_no_curve_is_drawn_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "html_report", lambda report: "")
    monkeypatch.setattr(module, "_draw", lambda both, *_, **__: drawn.append(both.by_count.columns) or [])
    drawn = []
    write(tmp_path, rows_of({"A": [0.2, 0.4], "A+B": [0.8, 0.8]}), prevalence={(0,): 1, (0, 1): 3})
    (ours,) = table(tmp_path, "dice_by_subset")
    assert float(ours["average of 2"]) == pytest.approx(0.55)
    assert float(ours[HEADING]) == pytest.approx(0.25 * 0.3 + 0.75 * 0.8)
    write(tmp_path, rows_of({"A": [0.2, 0.4]}), prevalence={(0,): 1})
    assert drawn[-1] == ()


def test_the_summary_speaks_of_all_subsets_whichever_occur(tmp_path):
    both = [*rows_of(SCORES), *rows_of(SCORES, model="other")]
    said = []
    for name, counts in (("none", {}), ("one", {(0,): 1}), ("two", {(0,): 1, (0, 1): 1})):
        page = write(tmp_path / name, both, pairs=[("other", "ours")], prevalence=counts).read_text(encoding="utf-8")
        said.append(page[page.index('id="summary"') : page.index('class="note"')])
    assert "other" in said[0]
    assert said[1:] == said[:1] * 2
