from __future__ import annotations

import csv
import random
import re

import numpy as np
import pytest
from evaluation.evaluation_rows import BRATS_NAMES, random_rows, row

from nnunet_missingmod.evaluation.conventions import NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.modality_gap import Latents
from nnunet_missingmod.evaluation.report.figures import save_png
from nnunet_missingmod.evaluation.report.folder import write_report
from nnunet_missingmod.evaluation.report.section import Section

QUICK = Bootstrap(resamples=100)
TABLES = {
    f"tables/{metric}_{by}.{form}"
    for metric in ("dice", "hd95_mm", "nsd")
    for by in ("by_subset", "by_count")
    for form in ("md", "tex", "csv")
}
FIGURES = {"figures/dice_by_subset.png", "figures/dice_by_count.png"}
QUESTIONS = {
    "report.md",
    *(f"tables/{name}.csv" for name in ("volumes", "detection", "monotonicity", "modality_gain")),
}
COMPARED = {f"tables/{name}.csv" for name in ("ranks", "order", "power", "noninferiority")}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A report of two models on two regions with everything that can be in one."""
    folder = tmp_path_factory.mktemp("whole")
    rows = random_rows(models=("ours", "theirs"), cases=6, regions=("TC", "ET"))
    rng = np.random.default_rng(0)
    latents = {
        model: Latents(rng.normal(size=(4, 20, 3)), BRATS_NAMES, np.arange(20) % 4) for model in ("ours", "theirs")
    }
    options = {
        "modalities": BRATS_NAMES,
        "pairs": [("ours", "theirs")],
        "bootstrap": QUICK,
        "least_size": {"ET": 500},
        "latents": latents,
        "provenance": {"command": "evaluate <all>"},
        "failures": ["c7 with T1: it is torn"],
        "margin": 1.5,
        "sections": [Section("uncertainty", "How sure?", "So.", figures=("figures/dice_by_subset.png",))],
    }
    return write_report(rows, folder, **options), rows, options


def test_all_tables_and_figures_and_one_page_are_written(whole):
    page, _, _ = whole
    differences = {"tables/comparisons.csv", "figures/dice_differences.png", "figures/latents.png"}
    gains = {"figures/modality_gain_1.png", "figures/modality_gain_2.png"}
    everything = TABLES | FIGURES | differences | gains | QUESTIONS | COMPARED | {"report.html"}
    assert set(contents(page.parent)) == everything


def test_the_sections_stand_in_a_file_of_their_own_with_the_margin_that_was_given(whole):
    text = (whole[0].parent / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Segmentation with missing modalities\n")
    assert "Warning: 6 cases of 6 patients are fewer than 50 patients" in text
    assert "with a margin of 1.5 points of Dice" in text
    assert "![What does each modality add?](figures/modality_gain_1.png)" in text
    assert "| ours − theirs | mean of regions |" in text


def test_sections_of_others_come_last_in_both_files(whole):
    folder = whole[0].parent
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text.endswith("## How sure?\n\nSo.\n\n![How sure?](figures/dice_by_subset.png)\n")
    page = whole[0].read_text(encoding="utf-8")
    assert page.index('id="detection"') < page.index('id="uncertainty"') < page.index("How sure?: dice by subset")


def test_the_page_needs_nothing_but_itself(whole):
    text = whole[0].read_text(encoding="utf-8")
    sources = re.findall(r"\b(?:src|href|srcset|action|data|poster)\s*=\s*[\"']?([^\"'\s>]+)", text)
    assert len([source for source in sources if source.startswith("data:image/png;base64,")]) == 7
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in sources)
    assert not re.search(r"https?:|url\(|@import", text)
    assert not re.search(r"<(link|iframe|object|embed|base)\b", text, flags=re.IGNORECASE)
    assert text.count("<script") == text.count("<script>") == 1
    assert not re.search(r"<[^>]*\bon\w+\s*=", text)


def test_the_rule_and_the_mean_stand_beside_the_raw_regions(whole):
    page, rows, _ = whole
    text = (page.parent / "tables" / "dice_by_count.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(text.splitlines()))
    assert [line["region"] for line in lines[::3]] == ["TC", "ET", "ET ≥ 500", "mean of regions"]
    raw = {(line["region"], line["model"]): float(line["average"]) for line in lines}
    # Every prediction has 100 voxels: the rule empties them all. It is no part of the mean.
    assert raw["ET ≥ 500", "ours"] == 0.0
    assert raw["mean of regions", "ours"] == pytest.approx(
        np.mean([each.dice for each in rows if each.model == "ours"])
    )


def test_the_same_rows_in_any_order_give_the_same_bytes(whole, tmp_path):
    page, rows, options = whole
    for model in ("ours", "theirs"):
        of_model = [each for each in rows if each.model == model]
        others = [each for each in rows if each.model != model]
        head, tail = of_model[:2], of_model[2:]
        rows = [*head, *random.Random(0).sample(tail, len(tail)), *others] if model == "ours" else rows
    write_report(rows, tmp_path, **options)
    assert contents(tmp_path) == contents(page.parent)


def test_one_model_and_some_subsets_are_enough(tmp_path):
    rows = [row(0.5 + 0.1 * case, case=f"c{case}", subset=subset) for case in range(3) for subset in ("CT", "CT+PET")]
    page = write_report(rows, tmp_path, modalities=("CT", "PET"), bootstrap=QUICK, convention=NNUNET)
    assert set(contents(tmp_path)) == TABLES | FIGURES | QUESTIONS | {"figures/modality_gain.png", "report.html"}
    header = (tmp_path / "tables" / "dice_by_subset.csv").read_text().splitlines()[0]
    assert header.startswith("region,model,CT,CT+PET,average of 2,")
    assert "Comparisons" not in page.read_text(encoding="utf-8")


def test_subsets_that_fill_no_size_give_no_table_by_count(tmp_path):
    rows = [row(0.5, subset="CT"), row(0.7, subset="CT", case="c1")]
    write_report(rows, tmp_path, modalities=("CT", "PET"), bootstrap=QUICK)
    assert set(contents(tmp_path)) == {
        *(name for name in TABLES if "by_subset" in name),
        "figures/dice_by_subset.png",
        "report.html",
        "report.md",
        "tables/volumes.csv",
        "tables/detection.csv",
    }


def test_pictures_of_others_are_shown(tmp_path):
    from matplotlib.figure import Figure

    save_png(Figure(figsize=(1, 1)), tmp_path / "cases.png")
    rows = random_rows(modalities=("CT", "PET"))
    page = write_report(
        rows,
        tmp_path / "out",
        modalities=("CT", "PET"),
        bootstrap=QUICK,
        pictures=[("three cases & more", tmp_path / "cases.png")],
    )
    assert "<figcaption>three cases &amp; more</figcaption>" in page.read_text(encoding="utf-8")


def test_patients_of_several_cases_are_counted_once(tmp_path):
    rows = random_rows(modalities=("CT", "PET"), cases=4)
    page = write_report(
        rows, tmp_path, modalities=("CT", "PET"), bootstrap=QUICK, patients={"c0": "p", "c1": "p", "c2": "q"}
    )
    assert "4 cases of 3 patients" in page.read_text(encoding="utf-8")


def test_rows_that_make_no_report_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="no score rows"):
        write_report([], tmp_path / "out", modalities=("CT",))
    with pytest.raises(ValueError, match="'other' has no score rows"):
        write_report([row(0.5, subset="CT")], tmp_path / "out", modalities=("CT",), pairs=[("ours", "other")])
    with pytest.raises(ValueError, match="between 0 and 100, got 0"):
        write_report([row(0.5, subset="CT")], tmp_path / "out", modalities=("CT",), margin=0)
    assert not (tmp_path / "out").exists()
