"""The tables of the study of accuracy: which mean a number is, what is compared with what, and how files are read."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "accuracy"))

import averages
import study
import tables
from score_files import SCORES, read_scores, write_scores
from settings import Group
from studies import STUDIES
from study_folder import Training

ROOT = Path(__file__).parents[2]
EQUAL = STUDIES["equal_budgets"]
COLUMNS = ["arm", "seed", "fold", *SCORES]
SUBSETS = ("A", "B", "A+B")


def scores_of(arm, seed, fold, subsets=SUBSETS, better=0.0):
    cases = [f"case{fold}{number}" for number in range(3)]
    return [
        (arm, seed, fold, "val", case, subset, len(subset.split("+")), "R", 0.5 + 0.1 * number + better)
        for number, case in enumerate(cases)
        for subset in subsets
    ]


def table_rows(text):
    """Return the cells of a Markdown table by arm."""
    lines = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in text.splitlines()]
    return {line[0].replace("\\_", "_"): line for line in lines}


def rows_of(arm, dice, *, seed=0, fold=0, region="R"):
    """Return rows of one training from {(case, subset): Dice}."""
    found = [
        (arm, seed, fold, "val", case, subset, len(subset.split("+")), region, value)
        for (case, subset), value in dice.items()
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def incomplete(complete, alone, *, fold=0, cases=2):
    """Return Dice of cases with both modalities, and of as many that have A alone."""
    return {(f"{fold}c{number}", subset): complete for number in range(cases) for subset in SUBSETS} | {
        (f"{fold}a{number}", "A"): alone for number in range(cases)
    }


def test_every_number_of_a_row_has_the_same_weights():
    # Two cases of three subsets each are better, two of one subset are worse: per case +0.1 and -0.2.
    rows = pd.concat([rows_of("x", incomplete(0.9, 0.4)), rows_of("base", incomplete(0.8, 0.6))])
    found = table_rows(tables.summary(rows, Group(("x", "base"), "base")))
    # Subset A: (0.9 + 0.9 + 0.4 + 0.4) / 4 = 0.65; B and A+B: 0.9.
    assert found["x"] == ["x", "81.7", "81.7", "81.7", "77.5", "90.0", "+5.0", "+5.0"]
    assert found["base"][1:3] == ["76.7", "76.7"]
    assert list(found)[2:] == ["x", "base"]


def test_means_and_columns_agree_where_folds_are_of_different_size():
    rows = pd.concat(
        [
            rows_of(arm, incomplete(better, better / 2, fold=fold, cases=cases), fold=fold)
            for arm, by_fold in (("x", (0.9, 0.5)), ("base", (0.8, 0.6)))
            for fold, (better, cases) in enumerate(zip(by_fold, (1, 4), strict=True))
        ]
    )
    found = table_rows(tables.summary(rows, Group(("x", "base"), "base")))
    for line in (found["x"], found["base"]):
        assert line[1] == line[3]  # the mean, and the one region
    cells = {arm: averages.cell_means(averages.scores_of(rows[rows["arm"] == arm])) for arm in ("x", "base")}
    difference = 100 * (cells["x"] - cells["base"]).mean()
    assert found["x"][-2].split(" ")[0] == f"{difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def test_the_interval_is_around_the_mean_of_cells_and_of_complete_cases_that_of_their_means():
    generator = np.random.default_rng(0)
    rows = pd.concat(
        rows_of("x", {cell: generator.normal() for cell in incomplete(0, 0, cases=6)}, seed=seed) for seed in range(3)
    )
    scores = averages.scores_of(rows)
    found = averages.interval(scores, {})
    assert found.mean == pytest.approx(averages.cell_means(scores).mean())
    assert found.low < found.mean < found.high
    complete = scores[scores.index.get_level_values("case").str.contains("c")]
    array = complete.groupby(["seed", "case"]).mean().unstack().to_numpy()[None]
    found, expected = averages.interval(complete, {}), averages.over_trainings_and_cases(array)
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))


def test_arms_are_compared_on_what_both_were_scored_on():
    base = {(f"c{number}", subset): 0.5 for number in range(3) for subset in SUBSETS}
    x = {key: value + 0.1 for key, value in base.items()} | {("c0", "A"): np.nan, ("c9", "B"): 0.0}
    seeds = [rows_of("x", x), rows_of("x", {**x, ("c0", "A"): 0.6}, seed=1)]
    rows = pd.concat([*seeds, *(rows_of("base", {**base, ("c1", "B"): 0.0}, seed=seed) for seed in (0, 1))])
    scores = {arm: averages.scores_of(of_arm) for arm, of_arm in rows.dropna(subset="dice").groupby("arm")}
    paired = averages.differences(scores["x"], scores["base"])
    # Neither what one arm lacks, nor what one of the trainings lacks.
    assert len(paired) == 2 * 8
    assert not {("c0", "A"), ("c9", "B")} & set(paired.index.droplevel(["fold", "seed", "region"]))
    assert averages.interval(paired, {}).mean == pytest.approx((0.1 + (0.1 + 0.1 + 0.6) / 3 + 0.1) / 3)


def test_an_arm_that_lacks_subsets_has_no_difference_and_blanks():
    base = {(f"c{number}", subset): 0.5 + 0.4 * (subset == "A+B") for number in range(3) for subset in SUBSETS}
    rows = pd.concat([rows_of("base", base), rows_of("full", {(f"c{n}", "A+B"): 0.85 for n in range(3)})])
    text = tables.summary(rows, Group(("base", "full"), "base"))
    assert "nan" not in text
    assert table_rows(text)["full"] == ["full", "", "", "", "", "85.0", "", ""]


def test_arms_without_a_training_in_common_with_the_baseline_come_last():
    arms = {"base": (0, 0.5), "a": (0, 0.4), "b": (1, 0.9), "c": (0, 0.6), "d": (1, 0.2), "e": (0, 0.7)}
    rows = pd.concat(
        [rows_of(arm, {("c0", "A"): dice, ("c1", "A"): dice}, seed=seed) for arm, (seed, dice) in arms.items()]
    )
    text = tables.summary(rows, Group(tuple(arms), "base"))
    assert list(table_rows(text))[2:] == ["e", "c", "base", "a", "b", "d"]
    assert "nan" not in text


def test_names_are_read_as_text_and_only_dice_may_be_missing(tmp_path):
    cases = [f"{patient:03d}{visit}" for patient in range(1, 7) for visit in range(1, 5)]
    for arm, better in (("dropout", 0.0), ("average", 0.1)):
        for seed in (0, 1):
            rows = [
                ("val", case, subset, 1, region, 0.3 + better * int(case[2]) + 0.01 * seed)
                for case in cases
                for subset in ("NA", "T1")
                for region in ("None", "1")
            ]
            write_scores(
                tmp_path / f"{arm}-{seed}.csv.gz", Training(arm, seed), [*rows, ("val", "0", "T1", 1, "1", np.nan)]
            )
    rows = tables.read_runs(tmp_path, "val")
    assert sorted(set(rows["case"])) == cases
    assert set(rows["subset"]) == {"NA", "T1"}
    assert set(rows["region"]) == {"None", "1"}
    assert read_scores(tmp_path / "dropout-0.csv.gz")["dice"].isna().sum() == 1
    alone, of_patients = (
        tables.summary(rows, Group(("dropout", "average"), "dropout"), patients=patients)
        for patients in ({}, {case: case[:3] for case in cases})
    )
    assert alone != of_patients


def test_channels_are_in_the_order_of_the_data():
    # No case has all three modalities.
    dice = {
        ("c0", "Z"): 0.1,
        ("c0", "M"): 0.2,
        ("c0", "Z+M"): 0.3,
        ("c1", "A"): 0.4,
        ("c1", "M"): 0.2,
        ("c1", "A+M"): 0.5,
    }
    rows = rows_of("x", dice)
    by_subset = tables.by_subset(rows, ["x"], ("Z", "A", "M"))
    assert "| Z | A | M |" in by_subset
    assert "| ● | ○ | ● | 30.00 |" in by_subset
    assert "| ○ | ● | ● | 50.00 |" in by_subset
    assert "n/a" not in by_subset
    assert "| 1 of 3 | 2 of 3 |" in tables.summary(rows, Group(("x",), "x"), modalities=("Z", "A", "M"))
    # Of rows alone, by name.
    assert tables.names_of_subsets(rows)[0] == ("A", "M", "Z")
    assert tables.names_of_subsets(rows)[1][1, 2] == "Z+M"
    assert "| 1 of 3 | 2 of 3 |" in tables.summary(rows, Group(("x",), "x"))


def test_a_fold_without_a_complete_case_has_dedicated_networks_too(tmp_path):
    for fold, has in ((0, SUBSETS), (1, SUBSETS[:2])):
        for number, subset in enumerate(SUBSETS):
            rows = [row[3:] for row in scores_of("", 0, fold, (subset,)) if subset in has]
            training = Training(f"dedicated_{number}", 0, fold)
            write_scores(tmp_path / f"{training.arm}-0-fold{fold}.csv", training, rows)
        training = Training("dropout", 0, fold)
        write_scores(tmp_path / f"dropout-0-fold{fold}.csv", training, [row[3:] for row in scores_of("", 0, fold, has)])
    rows = tables.read_runs(tmp_path, "val")
    assert set(rows.loc[rows["arm"] == "dedicated", "fold"]) == {0, 1}
    assert rows["dice"].dtype == float


def test_documented_arms_of_shorter_epochs_say_how_many_steps_they_had(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "HERE", tmp_path)
    runs = tmp_path / "runs" / EQUAL.documented_runs("3d_fullres")
    runs.mkdir(parents=True)
    for arm in ("dropout", "teacher_half"):
        write_scores(runs / f"{arm}-0.csv.gz", Training(arm, 0), [row[3:] for row in scores_of(arm, 0, 0)])
    text = tables.documented_tables(EQUAL)["3D equal budgets, val"]
    assert "teacher\\_half (500 steps)" in text


def test_documents_and_runs_agree(tmp_path):
    if not (ROOT / "benchmarks" / "accuracy" / "runs").is_dir():
        pytest.skip("scores are in the repository alone")
    document = Path(shutil.copy(ROOT / "docs" / "benchmark.md", tmp_path))
    assert study.main(["table", "--document", str(document)]) == 0
    assert document.read_text(encoding="utf-8") == (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")


def test_the_table_pools_folds_and_seeds_and_takes_dedicated_networks_together(tmp_path):
    for seed in (0, 1):
        for fold in (0, 1):
            found = scores_of("dropout", seed, fold) + scores_of("zero_fill", seed, fold, better=-0.1 * (1 + seed))
            pd.DataFrame(found, columns=COLUMNS).to_csv(tmp_path / f"pair-{seed}-{fold}.csv", index=False)
    own = [row for subset in ("A", "B", "A+B") for row in scores_of(f"dedicated_{subset}", 0, 1, (subset,), 0.2)]
    own += scores_of("dedicated_A", 1, 1, ("A",), 0.2)  # not all subsets: no row of its own
    pd.DataFrame(own, columns=COLUMNS).to_csv(tmp_path / "own.csv", index=False)
    text = tables.tables_of(EQUAL, tmp_path, EQUAL.total_steps)["equal budgets, val"]
    rows = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in text.splitlines()}
    assert rows["dropout"][1:3] == ["60.0", "60.0, 60.0, 60.0, 60.0"]
    assert rows["zero\\_fill"][1] == "45.0"
    assert rows["zero\\_fill"][-2:] == ["−15.0 (−30.2 to +0.2)", "−10.0, −20.0, −10.0, −20.0"]
    assert rows["dedicated"][1:3] == ["80.0", "80.0"]
    assert rows["dedicated"][-2:] == ["+20.0", "+20.0"]
    by_subset = tables.by_subset(tables.read_runs(tmp_path, "val"), ["zero_fill", "dropout"])
    assert "| ● | ● | 60.00 | 45.00 |" in by_subset


def test_an_unfinished_study_has_tables_of_what_has_been_run(tmp_path):
    for seed, fold in ((0, 0), (0, 1), (1, 0)):
        found = scores_of("dropout", seed, fold) + scores_of("zero_fill", seed, fold, better=-0.1)
        pd.DataFrame(found, columns=COLUMNS).to_csv(tmp_path / f"pair-{seed}-{fold}.csv", index=False)
    text = tables.tables_of(EQUAL, tmp_path, EQUAL.total_steps)["equal budgets, val"]
    assert "−10.0, −10.0, −10.0" in text


def test_a_folder_of_scores_made_elsewhere_has_tables(tmp_path, capsys):
    rows = [*scores_of("ours", 0, 0, better=0.1), *scores_of("theirs", 0, 0)]
    pd.DataFrame(rows, columns=COLUMNS).drop(columns=["seed", "fold", "split"]).to_csv(tmp_path / "x.csv", index=False)
    assert study.main(["table", "equal_budgets", str(tmp_path), "--baseline", "theirs"]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path.name}, val" in printed
    assert f"{tmp_path.name}, test" not in printed
    assert "+10.0" in printed
    with pytest.raises(SystemExit):
        study.main(["table", "equal_budgets", str(tmp_path)])
    assert "has no arm 'dropout': give one of ours, theirs" in capsys.readouterr().err


def test_two_trainings_that_no_column_tells_apart_are_refused(tmp_path, capsys):
    for number in (0, 1):
        rows = [*scores_of("ours", number, 0, better=0.1 * number), *scores_of("theirs", number, 0)]
        frame = pd.DataFrame(rows, columns=COLUMNS)
        frame.drop(columns=["seed", "fold", "split"]).to_csv(tmp_path / f"run{number}.csv", index=False)
    with pytest.raises(SystemExit):
        study.main(["table", "equal_budgets", str(tmp_path), "--baseline", "theirs"])
    error = capsys.readouterr().err
    assert "more than one score of arm ours, seed 0, fold 0, case " in error
    assert "told apart by the columns seed and fold" in error
