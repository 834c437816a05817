"""Reports of evaluations at the edge of what can be: one of everything, twenty modalities, names of any kind."""

from __future__ import annotations

import csv
import random

import pytest
from evaluation.evaluation_rows import row

from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.report.folder import write_report
from nnunet_missingmod.evaluation.scores import read_scores, write_scores
from nnunet_missingmod.modalities import choose_subsets, subset_name

QUICK = Bootstrap(resamples=100)
TWENTY = tuple(f"series{channel:02d}" for channel in range(20))
HOSTILE = (
    "$a$", "$", "x_1^2", "_m", "50 %", "a&b", "<b>", "{c}", "d\\e", "f+g", "|h|", "`i`", "*j*", "#k", "~l", '"n"',
    "a,b", "line\nbreak", "2", "all", "-o", "ü" * 200,
)  # fmt: skip


def rows_of(*, names, words=("all",), models=("ours", "theirs"), cases=4, regions=("a", "b"), dice=None):
    rng = random.Random(0)
    return [
        row(
            0.4 + 0.1 * position + rng.uniform(0, 0.2) if dice is None else dice(),
            model=model,
            case=f"c{case}",
            subset=subset_name(subset, names),
            region=region,
        )
        for position, model in enumerate(models)
        for case in range(cases)
        for subset in choose_subsets(words, names)
        for region in regions
    ]


def check(folder, rows, names, **options):
    """Write a report and return the table of Dice by subset, whose lines all have as many cells as the head."""
    models = list(dict.fromkeys(each.model for each in rows))
    pairs = [(model, models[0]) for model in models[1:]]
    page = write_report(rows, folder, modalities=names, pairs=pairs, bootstrap=QUICK, **options)
    assert page.read_text(encoding="utf-8").endswith("</html>\n")
    assert (folder / "figures" / "dice_by_subset.png").stat().st_size > 1000
    with (folder / "tables" / "dice_by_subset.csv").open(encoding="utf-8", newline="") as file:
        head, *body = csv.reader(file)
    assert {len(line) for line in body} == {len(head)}
    return [head, *body]


@pytest.mark.parametrize("models", [("ours",), ("ours", "theirs")])
@pytest.mark.parametrize("cases", [1, 6])
@pytest.mark.parametrize("regions", [("lesion",), ("WT", "TC", "ET")])
def test_one_modality_makes_a_report(tmp_path, models, cases, regions):
    rows = rows_of(names=("CT",), models=models, cases=cases, regions=regions)
    head, *_ = check(tmp_path, rows, ("CT",))
    assert head[:3] == ["region", "model", "CT"]
    assert "average" not in head
    assert (tmp_path / "figures" / "dice_by_count.png").exists()
    assert (tmp_path / "figures" / "dice_differences.png").exists() == (len(models) == 2)


@pytest.mark.parametrize("dice", [lambda: None, lambda: 0.5, lambda: 1.0], ids=["undefined", "equal", "perfect"])
@pytest.mark.parametrize("convention", ["auto", "brats", "nnunet"])
def test_scores_that_are_undefined_or_equal_make_a_report(tmp_path, dice, convention):
    rows = rows_of(names=("A", "B"), dice=dice)
    head, first, *_ = check(tmp_path, rows, ("A", "B"), convention=convention)
    assert head[2:6] == ["A", "B", "A+B", "average"]
    undefined = dice() is None and convention == "nnunet"
    assert (first[2] == "nan") == undefined


def test_one_subset_of_many_makes_a_report(tmp_path):
    head, *_ = check(tmp_path, rows_of(names=("A", "B", "C"), words=["A+C"]), ("A", "B", "C"))
    assert head[2] == "A+C"


@pytest.mark.parametrize("words", [["alone", "leave-one-out", "full"], ["random:5"]])
def test_twenty_modalities_cost_what_their_scored_subsets_cost(tmp_path, words):
    rows = rows_of(names=TWENTY, words=words, cases=2, regions=("a",))
    head, *_ = check(tmp_path, rows, TWENTY)
    scored = len(choose_subsets(words, TWENTY))
    assert f"average of {scored}" in head
    by_count = tmp_path / "tables" / "dice_by_count.csv"
    if "full" in words:
        assert by_count.read_text().startswith("region,model,1 of 20,19 of 20,20 of 20,1 of 20 low")
    else:
        assert not by_count.exists()


@pytest.mark.parametrize("names", list(zip(HOSTILE[::2], HOSTILE[1::2], strict=True)))
def test_any_name_is_shown_as_it_is(tmp_path, names):
    name = names[0]
    rows = rows_of(names=names, models=names, cases=2, regions=names)
    write_scores(rows, tmp_path / "scores.csv")
    assert read_scores(tmp_path / "scores.csv") == rows
    head, *body = check(
        tmp_path,
        rows,
        names,
        provenance={name: name},
        failures=[name],
        patients={"c0": name},
        least_size={name: 500},
    )
    assert head[2] == subset_name((0,), names)
    assert {line[0] for line in body} == {*names, f"{name} ≥ 500", "mean of regions"}
    for table in (tmp_path / "tables").glob("*_by_subset.md"):
        lines = [line for line in table.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        assert len(lines) == 2 + 4  # head, alignment, three subsets and their average
