"""Tables and figures of the studies, from the scores in their folders, by the package's own evaluation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from math import inf, isnan, nan
from pathlib import Path

import pandas as pd
from averages import cell_means, differences, interval, scores_of, training_means
from score_files import read_scores
from settings import DEDICATED, DOCUMENTED_EPOCH_STEPS, HERE, Group, Study
from studies import STUDIES

from nnunet_missingmod.evaluation.aggregation import CaseValues, count_columns, subset_columns
from nnunet_missingmod.evaluation.conventions import BRATS, DICE
from nnunet_missingmod.evaluation.report.figures import count_curve, difference_plot
from nnunet_missingmod.evaluation.report.heatmap import heatmap
from nnunet_missingmod.evaluation.report.tables import Table, table_of
from nnunet_missingmod.evaluation.report.text import interval_text, markdown_table, to_markdown
from nnunet_missingmod.modalities import by_size, split_escaped, unescape
from nnunet_missingmod.storage import write_text

# The order in which papers name them.
BRATS_REGIONS = ("WT", "TC", "ET")


def region_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of the regions, those of BraTS in the order of the papers."""
    found = tuple(dict.fromkeys(rows["region"]))
    return BRATS_REGIONS if set(found) == set(BRATS_REGIONS) else found


@cache
def read_runs(runs: Path, split: str) -> pd.DataFrame:
    """Return the rows (arm, seed, fold, split, case, subset, num_present, region, dice) of all runs of one split.

    What has no score is left out. A training that has a network of its own for every subset that the others of its fold
    are scored on is the arm ``dedicated``.

    Raises:
        FileNotFoundError: there is no file of scores.
        ValueError: a file cannot be read, or the files have two scores of one training.
    """
    files = sorted([*runs.glob("[!.]*.csv"), *runs.glob("[!.]*.csv.gz")])
    if not files:
        raise FileNotFoundError(f"{runs} has no scores.")
    rows = pd.concat([read_scores(file) for file in files], ignore_index=True)
    for missing in {"seed", "fold"} - set(rows):
        rows[missing] = 0
    rows = rows.fillna({"seed": 0, "fold": 0}).astype({"seed": int, "fold": int})
    if "split" in rows:
        rows = rows[rows["split"] == split]
    training = ["arm", "seed", "fold", "case", "subset", "region"]
    if len(twice := rows[rows.duplicated(training)]):
        which = ", ".join(f"{name} {value}" for name, value in twice[training].iloc[0].items())
        raise ValueError(
            f"{runs} has more than one score of {which}: trainings of an arm are told apart by the columns seed and "
            "fold."
        )
    own = rows[rows["arm"].str.startswith(f"{DEDICATED}_")]
    subsets = rows.groupby("fold")["subset"].nunique()
    found = own.groupby(["seed", "fold"])["subset"].transform("nunique")
    complete = own[found == own["fold"].map(subsets)]
    return pd.concat([rows.drop(own.index), complete.assign(arm=DEDICATED)]).dropna(subset="dice")


def names_of_subsets(
    rows: pd.DataFrame, modalities: Sequence[str] | None = None
) -> tuple[tuple[str, ...], dict[tuple[int, ...], str]]:
    """Return the modalities, and the name in the rows of each subset of their numbers.

    Args:
        rows: as of `read_runs`.
        modalities: in channel order; by default those of the subsets by name, since rows do not tell their order.
    """
    parts = {name: [unescape(part) for part in split_escaped(name, "+")] for name in rows["subset"].unique()}
    named = tuple(modalities or sorted({part for of_name in parts.values() for part in of_name}))
    return named, {tuple(sorted(map(named.index, of_name))): name for name, of_name in parts.items()}


def case_values(rows: pd.DataFrame, modalities: Sequence[str] | None = None) -> CaseValues:
    """Return Dice per case, the mean over an arm's trainings: these are not patients, and no sample of their own."""
    named, name_of = names_of_subsets(rows, modalities)
    subsets = by_size(name_of)
    names = [name_of[subset] for subset in subsets]
    regions = region_names(rows)
    cases = sorted(rows["case"].unique())
    means = rows.groupby(["arm", "region", "case", "subset"])["dice"].mean().unstack().reindex(columns=names)
    arms = list(rows["arm"].unique())
    arrays = {(arm, region): means.loc[arm, region].reindex(cases).to_numpy() for arm in arms for region in regions}
    return CaseValues(
        metric=DICE,
        convention=BRATS,
        modalities=named,
        models=tuple(arms),
        regions=regions,
        cases=tuple(cases),
        subsets=tuple(subsets),
        arrays=arrays,
        nsd_tolerance_mm=nan,
        bounds=(0.0, 1.0),
    )


def summary(
    rows: pd.DataFrame,
    group: Group,
    *,
    steps: Callable[[str], int] | None = None,
    patients: Mapping[str, str] | None = None,
    modalities: Sequence[str] | None = None,
) -> str:
    """Return a Markdown table: mean Dice (%) of a group's arms.

    Every number is a mean of cells, as in `averages`: of the regions and subsets of all trainings, of each training (in
    the order of folds and then seeds), of one region, or of one number of modalities. The difference from the baseline
    is paired by case, region and subset, over the trainings that both have, with its interval over trainings and cases
    where there are several, and then training by training; it gives the order. Where an arm lacks a region or subset
    that others have, what it would be needed for is blank. An arm that had more or fewer steps in all than the baseline
    says so.

    Args:
        rows: as of `read_runs`.
        steps: returns how many steps an arm had in all.
        patients: the patient of each case that is not its own.
        modalities: of the data; by default those that subsets name.
    """
    rows = rows[rows["arm"].isin(group.arms)]
    scores = {arm: scores_of(of_arm) for arm, of_arm in rows.groupby("arm")}
    paired = {arm: differences(of_arm, scores[group.baseline]) for arm, of_arm in scores.items()}
    found = {arm: interval(each, patients or {}) for arm, each in paired.items() if len(each)}
    cells = pd.DataFrame({arm: cell_means(of_arm) for arm, of_arm in scores.items()})
    of_region = cells.index.get_level_values("region")
    of_count = cells.index.get_level_values("subset").map(rows.groupby("subset")["num_present"].first())
    regions, counts = region_names(rows), sorted(set(of_count))
    body = []
    for arm in sorted(scores, key=lambda arm: -found[arm].mean if arm in found else inf):
        of_arm = cells[arm]
        columns = [*(of_arm[of_region == region] for region in regions), *(of_arm[of_count == n] for n in counts)]
        mean, *means = map(_percent, (of_arm, *columns))
        each = _each(scores[arm]) if mean else ""
        is_compared = arm != group.baseline and arm in found
        of_pair = (interval_text(found[arm], signed=True), _each(paired[arm], sign="+")) if is_compared else ("", "")
        body.append([arm + _steps_differ(arm, group.baseline, steps), mean, each, *means, *of_pair])
    most = len(names_of_subsets(rows, modalities)[0])
    head = ["arm", "mean", "each", *regions, *(f"{n} of {most}" for n in counts), f"minus {group.baseline}", "each"]
    return markdown_table(head, ["---", "--:", "---", *["--:"] * (len(head) - 5), "---", "---"], body)


def _percent(cells: pd.Series) -> str:
    """Return the mean of cells in percent; nothing if one is not there."""
    mean = cells.mean(skipna=False)
    return "" if isnan(mean) else f"{100 * mean:.1f}"


def _each(scores: pd.Series, sign: str = "") -> str:
    """Return the mean of each training in percent."""
    return ", ".join(f"{100 * mean:{sign}.1f}" for mean in training_means(scores)).replace("-", "\N{MINUS SIGN}")


def _steps_differ(arm: str, baseline: str, steps: Callable[[str], int] | None) -> str:
    if steps is None or arm == DEDICATED or steps(arm) == steps(baseline):
        return ""
    return f" ({steps(arm):,} steps)"


def by_subset(rows: pd.DataFrame, arms: Sequence[str], modalities: Sequence[str] | None = None) -> str:
    """Return a Markdown table of all subsets that have a score as rows."""
    values = case_values(rows[rows["arm"].isin(arms)], modalities)
    columns = subset_columns(values.modalities, scored=values.scored)
    return to_markdown(table_of(values, columns), subsets_as_rows=True)


def dedicated(rows: pd.DataFrame, arms: Sequence[str]) -> str:
    """Return a Markdown table of networks trained for one subset, beside what ``arms`` reach on it, same seeds."""
    only = rows[rows["arm"].str.startswith("Dedicated")]
    body = []
    for subset, of_subset in only.groupby("subset"):
        seeds = set(of_subset["seed"])
        others = rows[(rows["subset"] == subset) & rows["seed"].isin(seeds)]
        cells = [f"{100 * of_subset['dice'].mean():.1f}"]
        cells += [f"{100 * others[others['arm'] == arm]['dice'].mean():.1f}" for arm in arms]
        body.append([str(subset), str(len(seeds)), *cells])
    head = ["subset", "seeds", "dedicated", *arms]
    return markdown_table(head, ["---", *["--:"] * (len(head) - 1)], body)


def draw(study: Study, split: str, target: Path) -> None:
    """Draw Dice against the number of modalities, all subsets, and the difference of the last arm from the baseline.

    Bands and bars are the intervals over trainings and cases, of each subset and region by itself.
    """
    arms = study.shown
    rows = read_runs(HERE / "runs" / study.name, split)
    rows = rows[rows["arm"].isin(arms)]
    # In the order of arms, which is that of lines and rows.
    rows = rows.assign(arm=pd.Categorical(rows["arm"], arms, ordered=True)).sort_values("arm", kind="stable")
    rows = rows.assign(arm=rows["arm"].astype(str))
    values = case_values(rows)
    target.mkdir(parents=True, exist_ok=True)
    pair = (arms[-1], study.groups["methods"].baseline)
    names = values.modalities
    counts = with_trainings(table_of(values, count_columns(names)), rows, pair)
    count_curve(counts, target / "benchmark_counts.png")
    heatmap(table_of(values, subset_columns(names)), target / "benchmark_subsets.png")
    of_pair = with_trainings(table_of(values, subset_columns(names), differences=[pair]), rows, pair)
    difference_plot(of_pair, target / "benchmark_differences.png")


def with_trainings(table: Table, rows: pd.DataFrame, pair: tuple[str, str]) -> Table:
    """Return the table with intervals over trainings and cases; nothing of it is tested.

    Args:
        table: whose differences are all of ``pair``.
        rows: what it was made of.
        pair: an arm and what it is compared with.
    """
    name_of = names_of_subsets(rows)[1]
    scores = {arm: scores_of(of_arm) for arm, of_arm in rows.groupby("arm")}
    paired = differences(*(scores[arm] for arm in pair))
    found = []
    for row in table.rows:
        of_row = (paired if row.is_difference else scores[row.model]).xs(row.region, level="region", drop_level=False)
        subsets = of_row.index.get_level_values("subset")
        of_columns = (of_row[subsets.isin([name_of[subset] for subset in each.subsets])] for each in table.columns)
        intervals = tuple(interval(of_column, {}) for of_column in of_columns)
        found.append(replace(row, intervals=intervals, marks=("",) * len(intervals)))
    return replace(table, rows=tuple(found))


def tables_of(
    study: Study,
    runs: Path,
    steps: Callable[[str], int],
    patients: Mapping[str, str] | None = None,
    modalities: Sequence[str] | None = None,
) -> dict[str, str]:
    """Return the tables of a study's groups, as far as their arms have been run in this folder of scores."""
    tables = {}
    for name, group in study.groups.items():
        for split in ("test", "val"):
            rows = read_runs(runs, split)
            if len({*group.arms, group.baseline} & set(rows["arm"])) > 1 and group.baseline in set(rows["arm"]):
                tables[f"{name}, {split}"] = summary(rows, group, steps=steps, patients=patients, modalities=modalities)
    return tables


def documented_tables(study: Study) -> dict[str, str]:
    """Return the tables of a study's scores beside the scripts by name, as far as it has been run."""
    tables: dict[str, str] = {}
    for configuration, epoch_steps in DOCUMENTED_EPOCH_STEPS.items():
        runs = HERE / "runs" / study.documented_runs(configuration)
        if runs.is_dir():
            found = tables_of(study, runs, partial(study.total_steps, epoch_steps=epoch_steps))
            prefix = "" if configuration == "2d" else "3D "
            tables |= {f"{prefix}{name}": table for name, table in found.items()}
    return tables


def all_tables() -> dict[str, str]:
    """Return every table of docs/benchmark.md by name; of a study that has not been run there is none."""
    first = STUDIES["methods"]
    rows = read_runs(HERE / "runs" / first.name, "test")
    real = read_runs(HERE / "runs" / "real_cases", "val")
    of_real = Group(tuple(real["arm"].unique()), "ModalityDropout")
    return {
        **{name: table for study in STUDIES.values() for name, table in documented_tables(study).items()},
        "dedicated, test": dedicated(rows, first.shown),
        "by subset, test": by_subset(rows, first.shown),
        "real cases": summary(real, of_real),
    }


def write_into(document: Path, tables: Mapping[str, str]) -> None:
    """Replace what stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` in a document.

    Raises:
        ValueError: the document has no place for a table, or a place for an unknown one.
    """
    text = document.read_text(encoding="utf-8")
    places = re.findall(r"<!-- table: (.+?) -->", text)
    if sorted(places) != sorted(tables):
        raise ValueError(f"{document} has places for {sorted(places)}, the tables are {sorted(tables)}.")
    for name, table in tables.items():
        place = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = place.sub(lambda found, table=table: f"{found[1]}{table.strip()}\n{found[2]}", text)
    write_text(document, text)
