"""The section on costs says what was measured where, and leaves empty what was not."""

from __future__ import annotations

import csv
from dataclasses import replace

from nnunet_missingmod.evaluation.costs import Cost
from nnunet_missingmod.evaluation.report.cost_section import cost_section

STOCK = Cost(parameters=2_500_000, folds=1, seconds=2.0, peak_bytes=400_000_000, voxels=(8, 16, 24), device="cpu")


def test_the_table_shows_costs_and_ratios_and_the_file_has_them_in_full(tmp_path):
    ours = replace(STOCK, folds=5, seconds=5.0, peak_bytes=None)
    section = cost_section({"stock": STOCK, "ours": ours}, "stock", tmp_path)
    assert section.tables[0].body == (
        ("stock", "2.50", "1.00", "2", "1.00", "400", "1.00"),
        ("ours (5 folds)", "2.50", "1.00", "5", "2.50", "", ""),
    )
    assert "cpu, 8 x 16 x 24 voxels" in section.text
    lines = list(csv.DictReader((tmp_path / "tables" / "costs.csv").read_text().splitlines()))
    assert [line["seconds_ratio"] for line in lines] == ["1.0", "2.5"]
    assert lines[0]["peak_bytes"] == "400000000"
    assert lines[1]["peak_bytes_ratio"] == ""


def test_without_a_measurement_there_is_no_section(tmp_path):
    assert cost_section({}, "stock", tmp_path) is None
    assert not (tmp_path / "tables").exists()
