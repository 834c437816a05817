"""Tables and figures of the studies, from the scores in their folders, by the package's own evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from settings import REGIONS, Group, Study
from studies import STUDIES

from nnunet_missingmod.demo.contrast import MODALITIES
from nnunet_missingmod.evaluation.aggregation import CaseValues, count_columns, subset_columns
from nnunet_missingmod.evaluation.conventions import BRATS, DICE
from nnunet_missingmod.evaluation.intervals import Bootstrap, Interval
from nnunet_missingmod.evaluation.report.figures import count_curve, difference_plot
from nnunet_missingmod.evaluation.report.heatmap import heatmap
from nnunet_missingmod.evaluation.report.tables import table_of
from nnunet_missingmod.evaluation.report.text import interval_text, markdown_table, to_markdown
from nnunet_missingmod.evaluation.statistics import compare
from nnunet_missingmod.modalities import all_subsets, subset_name
from nnunet_missingmod.storage import write_text

MEAN = {"mean": tuple(REGIONS)}


@cache
def read_runs(study: Study, split: str) -> pd.DataFrame:
    """Return the rows (arm, seed, split, case, subset, num_present, region, dice) of all runs of one split.

    A seed that has a network of its own for every subset is the arm ``dedicated``.
    """
    files = sorted(study.runs.glob(f"*{study.suffix}"))
    rows = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    rows = rows[rows["split"] == split]
    own = rows[rows["arm"].str.startswith("dedicated_")]
    complete = own.groupby("seed").filter(lambda seed: seed["subset"].nunique() == len(all_subsets(len(MODALITIES))))
    return pd.concat([rows.drop(own.index), complete.assign(arm="dedicated")])


def case_values(rows: pd.DataFrame) -> CaseValues:
    """Return Dice per case, the mean over an arm's seeds: seeds are not patients, and no sample of their own."""
    subsets = all_subsets(len(MODALITIES))
    names = [subset_name(subset, MODALITIES) for subset in subsets]
    cases = sorted(rows["case"].unique())
    means = rows.groupby(["arm", "region", "case", "subset"])["dice"].mean().unstack().reindex(columns=names)
    arms = list(rows["arm"].unique())
    arrays = {(arm, region): means.loc[arm, region].reindex(cases).to_numpy() for arm in arms for region in REGIONS}
    return CaseValues(
        metric=DICE,
        convention=BRATS,
        modalities=tuple(MODALITIES),
        models=tuple(arms),
        regions=tuple(REGIONS),
        cases=tuple(cases),
        subsets=tuple(subsets),
        arrays=arrays,
        nsd_tolerance_mm=np.nan,
    )


def summary(study: Study, split: str, group: Group) -> str:
    """Return a Markdown table: mean Dice (%) over subsets, regions and cases of a group's arms.

    Means are over an arm's own seeds; each seed's mean follows. The difference from the baseline is paired by case,
    over the seeds that both have, with its bootstrap interval, and then seed by seed; it gives the order.
    """
    rows = read_runs(study, split)
    rows = rows[rows["arm"].isin(group.arms)]
    by_seed = rows.groupby(["arm", "seed"])["dice"].mean().mul(100)
    regions = rows.groupby(["arm", "region"])["dice"].mean().mul(100).unstack()[list(REGIONS)]
    counts = rows.groupby(["arm", "num_present"])["dice"].mean().mul(100).unstack()
    against = [f"minus {group.baseline}", "seed by seed"]
    head = ["arm", "mean", "seeds", *REGIONS, *(f"{count} of 4" for count in counts), *against]
    paired = {arm: (by_seed.loc[arm] - by_seed.loc[group.baseline]).dropna() for arm in by_seed.index.unique("arm")}
    body = []
    for arm in sorted(paired, key=lambda arm: -paired[arm].mean()):
        of_seeds = ", ".join(f"{value:.1f}" for value in by_seed.loc[arm])
        cells = [f"{value:.1f}" for value in [*regions.loc[arm], *counts.loc[arm]]]
        body.append(
            [
                arm,
                f"{by_seed.loc[arm].mean():.1f}",
                of_seeds,
                *cells,
                *_difference(study, rows, arm, group.baseline, paired[arm]),
            ]
        )
    return markdown_table(head, ["---", "--:", "---", *["--:"] * (len(head) - 5), "---", "---"], body)


def _difference(study: Study, rows: pd.DataFrame, arm: str, baseline: str, by_seed: pd.Series) -> tuple[str, str]:
    if arm == baseline:
        return "", ""
    rows = rows[rows["arm"].isin([arm, baseline]) & rows["seed"].isin(by_seed.index)]
    if study.interval_over_seeds:
        means = rows.groupby(["arm", "seed", "case"])["dice"].mean().unstack()
        difference = over_trainings_and_cases((means.loc[arm] - means.loc[baseline]).to_numpy())
    else:
        average = count_columns(MODALITIES)[-1:]
        (found,) = compare(
            case_values(rows), model=arm, baseline=baseline, columns=average, bootstrap=Bootstrap(), regions=MEAN
        )
        difference = found.difference
    seed_by_seed = ", ".join(f"{value:+.1f}".replace("-", "\N{MINUS SIGN}") for value in by_seed)
    return interval_text(difference, signed=True), seed_by_seed


def over_trainings_and_cases(values: NDArray[np.float64]) -> Interval:
    """Return the mean of an array (seeds, cases) with its 95 % interval.

    Each of 5,000 resamples draws seeds and cases with replacement, the same cases for each of its seeds.
    """
    settings = Bootstrap()
    generator = np.random.default_rng(settings.seed)
    seeds, cases = (
        generator.multinomial(count, np.full(count, 1 / count), size=settings.resamples) / count
        for count in values.shape
    )
    low, high = np.percentile(np.einsum("rs,sc,rc->r", seeds, values, cases), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high), values.shape[1])


def by_subset(study: Study, split: str, arms: Sequence[str]) -> str:
    """Return a Markdown table of all subsets as rows."""
    rows = read_runs(study, split)
    table = table_of(case_values(rows[rows["arm"].isin(arms)]), subset_columns(MODALITIES))
    return to_markdown(table, subsets_as_rows=True)


def dedicated(study: Study, split: str, arms: Sequence[str]) -> str:
    """Return a Markdown table of networks trained for one subset, beside what ``arms`` reach on it, same seeds."""
    rows = read_runs(study, split)
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
    """Draw Dice against the number of modalities, all subsets, and the difference of the last arm from the baseline."""
    arms = study.shown
    rows = read_runs(study, split)
    rows = rows[rows["arm"].isin(arms)]
    # In the order of arms, which is that of lines and rows.
    rows = rows.assign(arm=pd.Categorical(rows["arm"], arms, ordered=True)).sort_values("arm", kind="stable")
    values = case_values(rows.assign(arm=rows["arm"].astype(str)))
    target.mkdir(parents=True, exist_ok=True)
    pair = [(arms[-1], study.groups["methods"].baseline)]
    count_curve(table_of(values, count_columns(MODALITIES), bootstrap=Bootstrap()), target / "benchmark_counts.png")
    heatmap(table_of(values, subset_columns(MODALITIES)), target / "benchmark_subsets.png")
    difference_plot(
        table_of(values, subset_columns(MODALITIES), differences=pair, bootstrap=Bootstrap()),
        target / "benchmark_differences.png",
    )


def all_tables() -> dict[str, str]:
    """Return every table of docs/benchmark.md by name; of a study that has not been run there is none."""
    tables = {
        f"{name}, {split}": summary(study, split, group)
        for study in STUDIES.values()
        if study.runs.is_dir()
        for name, group in study.groups.items()
        for split in ("test", "val")
    }
    first = STUDIES["methods"]
    return {
        **tables,
        "dedicated, test": dedicated(first, "test", first.shown),
        "by subset, test": by_subset(first, "test", first.shown),
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
