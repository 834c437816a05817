"""Tables and figures of the studies, from the scores in their folders, by the package's own evaluation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from intervals import over_trainings_and_cases
from settings import DEDICATED, HERE, Group, Study
from studies import STUDIES

from nnunet_missingmod.evaluation.aggregation import CaseValues, count_columns, subset_columns
from nnunet_missingmod.evaluation.conventions import BRATS, DICE
from nnunet_missingmod.evaluation.intervals import Interval
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

    A training that has a network of its own for every subset is the arm ``dedicated``.
    """
    files = sorted([*runs.glob("[!.]*.csv"), *runs.glob("[!.]*.csv.gz")])
    if not files:
        raise FileNotFoundError(f"{runs} has no scores.")
    rows = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    for missing in {"seed", "fold"} - set(rows):
        rows[missing] = 0
    rows = rows.fillna({"seed": 0, "fold": 0}).astype({"seed": int, "fold": int})
    if "split" in rows:
        rows = rows[rows["split"] == split]
    own = rows[rows["arm"].str.startswith(f"{DEDICATED}_")]
    subsets = rows["subset"].nunique()
    complete = own.groupby(["seed", "fold"]).filter(lambda training: training["subset"].nunique() == subsets)
    return pd.concat([rows.drop(own.index), complete.assign(arm=DEDICATED)])


def names_of_subsets(rows: pd.DataFrame) -> tuple[tuple[str, ...], dict[tuple[int, ...], str]]:
    """Return the modalities, and the name in the rows of each subset of their numbers."""
    parts = {name: [unescape(part) for part in split_escaped(name, "+")] for name in rows["subset"].unique()}
    modalities = tuple(
        dict.fromkeys(part for name in sorted(parts, key=lambda name: -len(parts[name])) for part in parts[name])
    )
    return modalities, {tuple(modalities.index(part) for part in of_name): name for name, of_name in parts.items()}


def case_values(rows: pd.DataFrame) -> CaseValues:
    """Return Dice per case, the mean over an arm's trainings: these are not patients, and no sample of their own."""
    modalities, name_of = names_of_subsets(rows)
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
        modalities=modalities,
        models=tuple(arms),
        regions=regions,
        cases=tuple(cases),
        subsets=tuple(subsets),
        arrays=arrays,
        nsd_tolerance_mm=np.nan,
        bounds=(0.0, 1.0),
    )


def summary(
    rows: pd.DataFrame,
    group: Group,
    *,
    steps: Callable[[str], int] | None = None,
    patients: Mapping[str, str] | None = None,
) -> str:
    """Return a Markdown table: mean Dice (%) over subsets, regions and cases of a group's arms.

    Means are over an arm's own trainings; each training's mean follows, in the order of folds and then seeds. The
    difference from the baseline is paired by case, over the trainings that both have, with its interval over trainings
    and cases where there are several, and then training by training; it gives the order. An arm that had more or fewer
    steps in all than the baseline says so.

    Args:
        rows: as of `read_runs`.
        steps: returns how many steps an arm had in all.
        patients: the patient of each case that is not its own.
    """
    rows = rows[rows["arm"].isin(group.arms)]
    by_training = rows.groupby(["arm", "fold", "seed"])["dice"].mean().mul(100)
    names = list(region_names(rows))
    regions = rows.groupby(["arm", "region"])["dice"].mean().mul(100).unstack()[names]
    counts = rows.groupby(["arm", "num_present"])["dice"].mean().mul(100).unstack()
    head = ["arm", "mean", "each", *names, *(f"{count} of {max(counts)}" for count in counts)]
    head += [f"minus {group.baseline}", "each"]
    paired = {
        arm: (by_training.loc[arm] - by_training.loc[group.baseline]).dropna()
        for arm in by_training.index.unique("arm")
    }
    body = []
    for arm in sorted(paired, key=lambda arm: -paired[arm].mean()):
        cells = [f"{value:.1f}" for value in [*regions.loc[arm], *counts.loc[arm]]]
        body.append(
            [
                arm + _steps_differ(arm, group.baseline, steps),
                f"{by_training.loc[arm].mean():.1f}",
                ", ".join(f"{value:.1f}" for value in by_training.loc[arm]),
                *cells,
                *_difference(rows, arm, group.baseline, paired[arm], patients or {}),
            ]
        )
    return markdown_table(head, ["---", "--:", "---", *["--:"] * (len(head) - 5), "---", "---"], body)


def _steps_differ(arm: str, baseline: str, steps: Callable[[str], int] | None) -> str:
    if steps is None or arm == DEDICATED or steps(arm) == steps(baseline):
        return ""
    return f" ({steps(arm):,} steps)"


def _difference(
    rows: pd.DataFrame, arm: str, baseline: str, by_training: pd.Series, patients: Mapping[str, str]
) -> tuple[str, str]:
    if arm == baseline or by_training.empty:
        return "", ""
    found = interval(rows, arm, baseline, patients)
    each = ", ".join(f"{value:+.1f}".replace("-", "\N{MINUS SIGN}") for value in by_training)
    return interval_text(found, signed=True), each


def interval(
    rows: pd.DataFrame, arm: str, baseline: str | None = None, patients: Mapping[str, str] | None = None
) -> Interval:
    """Return an arm's mean Dice, or its difference from a baseline, with the interval over trainings and cases."""
    patients = patients or {}
    means = rows.groupby(["arm", "fold", "seed", "case"])["dice"].mean()
    values = means.loc[arm] if baseline is None else (means.loc[arm] - means.loc[baseline]).dropna()
    folds, seeds, cases = (sorted(values.index.unique(level)) for level in ("fold", "seed", "case"))
    every = pd.MultiIndex.from_product([folds, seeds, cases])
    array = values.reindex(every).to_numpy().reshape(len(folds), len(seeds), len(cases))
    return over_trainings_and_cases(array, [patients.get(case, case) for case in cases])


def by_subset(rows: pd.DataFrame, arms: Sequence[str]) -> str:
    """Return a Markdown table of all subsets as rows."""
    values = case_values(rows[rows["arm"].isin(arms)])
    return to_markdown(table_of(values, subset_columns(values.modalities)), subsets_as_rows=True)


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
    differences = with_trainings(table_of(values, subset_columns(names), differences=[pair]), rows, pair)
    difference_plot(differences, target / "benchmark_differences.png")


def with_trainings(table: Table, rows: pd.DataFrame, pair: tuple[str, str]) -> Table:
    """Return the table with intervals over trainings and cases; nothing of it is tested.

    Args:
        table: whose differences are all of ``pair``.
        rows: what it was made of.
        pair: an arm and what it is compared with.
    """
    name_of = names_of_subsets(rows)[1]
    found = []
    for row in table.rows:
        of_region = rows[rows["region"] == row.region]
        arm, baseline = pair if row.is_difference else (row.model, None)
        intervals = tuple(
            interval(of_region[of_region["subset"].isin([name_of[subset] for subset in column.subsets])], arm, baseline)
            for column in table.columns
        )
        found.append(replace(row, intervals=intervals, marks=("",) * len(intervals)))
    return replace(table, rows=tuple(found))


def tables_of(
    study: Study, runs: Path, steps: Callable[[str], int], patients: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the tables of a study's groups, as far as their arms have been run in this folder of scores."""
    tables = {}
    for name, group in study.groups.items():
        for split in ("test", "val"):
            rows = read_runs(runs, split)
            if len({*group.arms, group.baseline} & set(rows["arm"])) > 1 and group.baseline in set(rows["arm"]):
                tables[f"{name}, {split}"] = summary(rows, group, steps=steps, patients=patients)
    return tables


def all_tables() -> dict[str, str]:
    """Return every table of docs/benchmark.md by name; of a study that has not been run there is none."""
    tables: dict[str, str] = {}
    for study in STUDIES.values():
        for runs in sorted((HERE / "runs").glob(f"{study.name}*")):
            prefix = "3D " if runs.name.endswith("_3d_fullres") else ""
            tables |= {f"{prefix}{name}": table for name, table in tables_of(study, runs, study.total_steps).items()}
    first = STUDIES["methods"]
    rows = read_runs(HERE / "runs" / first.name, "test")
    real = read_runs(HERE / "runs" / "real_cases", "val")
    of_real = Group(tuple(real["arm"].unique()), "ModalityDropout")
    return {
        **tables,
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
