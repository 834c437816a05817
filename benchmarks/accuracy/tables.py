"""Tables and figures of the study, from the scores in its folder ``runs``, by the package's own evaluation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from settings import REGIONS

from nnunet_missingmod.demo.contrast import MODALITIES
from nnunet_missingmod.evaluation.bootstrap import Bootstrap
from nnunet_missingmod.evaluation.columns import count_columns, subset_columns
from nnunet_missingmod.evaluation.comparison import compare
from nnunet_missingmod.evaluation.comparison_text import p_text
from nnunet_missingmod.evaluation.conventions import BRATS, DICE
from nnunet_missingmod.evaluation.count_curve import count_curve
from nnunet_missingmod.evaluation.difference_plot import difference_plot
from nnunet_missingmod.evaluation.figures import heatmap
from nnunet_missingmod.evaluation.pooling import CaseValues
from nnunet_missingmod.evaluation.table_text import interval_text, markdown_table, to_markdown
from nnunet_missingmod.evaluation.tables import table_of
from nnunet_missingmod.modalities import all_subsets, subset_name

BASELINE = "ModalityDropout"
MEAN = {"mean": tuple(REGIONS)}


def read_runs(folder: Path, split: str) -> pd.DataFrame:
    """Return the rows (arm, seed, split, case, subset, num_present, region, dice) of all runs of one split."""
    rows = pd.concat([pd.read_csv(file) for file in sorted(folder.glob("*.csv"))])
    return rows[rows["split"] == split]


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


def summary(folder: Path, split: str) -> str:
    """Return a Markdown table: mean Dice (%) over subsets, regions and cases of each arm, best first.

    ``seeds`` gives the lowest and highest of the single seeds' means. The difference from modality dropout is paired by
    case, over the seeds that both have, with its bootstrap interval over cases and the signed-rank p value of the arm
    alone.
    """
    rows = read_runs(folder, split)
    rows = rows[~rows["arm"].str.startswith("Dedicated")]
    by_seed = rows.groupby(["arm", "seed"])["dice"].mean().mul(100)
    regions = rows.groupby(["arm", "region"])["dice"].mean().mul(100).unstack()[list(REGIONS)]
    counts = rows.groupby(["arm", "num_present"])["dice"].mean().mul(100).unstack()
    head = ["arm", "mean", "seeds", *REGIONS, *(f"{count} of 4" for count in counts), f"minus {BASELINE}", "p"]
    body = []
    for arm in by_seed.groupby("arm").mean().sort_values(ascending=False).index:
        seeds = by_seed.loc[arm]
        spread = f"{seeds.min():.1f} to {seeds.max():.1f} ({len(seeds)})" if len(seeds) > 1 else "1"
        cells = [f"{value:.1f}" for value in [*regions.loc[arm], *counts.loc[arm]]]
        body.append([arm, f"{seeds.mean():.1f}", spread, *cells, *_difference(rows, arm)])
    return markdown_table(head, ["---", "--:", "---", *["--:"] * (len(head) - 5), "---", "--:"], body)


def _difference(rows: pd.DataFrame, arm: str) -> tuple[str, str]:
    if arm == BASELINE:
        return "", ""
    seeds = set(rows[rows["arm"] == arm]["seed"]) & set(rows[rows["arm"] == BASELINE]["seed"])
    paired = case_values(rows[rows["arm"].isin([arm, BASELINE]) & rows["seed"].isin(seeds)])
    average = count_columns(MODALITIES)[-1:]
    (found,) = compare(paired, model=arm, baseline=BASELINE, columns=average, bootstrap=Bootstrap(), regions=MEAN)
    return interval_text(found.difference, signed=True), p_text(found.p)


def by_subset(folder: Path, split: str, arms: Sequence[str]) -> str:
    """Return a Markdown table of all subsets as rows."""
    rows = read_runs(folder, split)
    table = table_of(case_values(rows[rows["arm"].isin(arms)]), subset_columns(MODALITIES))
    return to_markdown(table, subsets_as_rows=True)


def dedicated(folder: Path, split: str, arms: Sequence[str]) -> str:
    """Return a Markdown table of networks trained for one subset, beside what ``arms`` reach on it, same seeds."""
    rows = read_runs(folder, split)
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


def draw(folder: Path, split: str, arms: Sequence[str], target: Path) -> None:
    """Draw Dice against the number of modalities, all subsets, and the difference of the last arm from the baseline."""
    rows = read_runs(folder, split)
    rows = rows[rows["arm"].isin(arms)]
    # In the order of arms, which is that of lines and rows.
    rows = rows.assign(arm=pd.Categorical(rows["arm"], arms, ordered=True)).sort_values("arm", kind="stable")
    values = case_values(rows.assign(arm=rows["arm"].astype(str)))
    target.mkdir(parents=True, exist_ok=True)
    pair = [(arms[-1], BASELINE)]
    count_curve(table_of(values, count_columns(MODALITIES), bootstrap=Bootstrap()), target / "benchmark_counts.png")
    heatmap(table_of(values, subset_columns(MODALITIES)), target / "benchmark_subsets.png")
    difference_plot(
        table_of(values, subset_columns(MODALITIES), differences=pair, bootstrap=Bootstrap()),
        target / "benchmark_differences.png",
    )


def print_tables(folder: Path, split: str, arms: Sequence[str]) -> None:
    """Print the tables of docs/benchmark.md."""
    present = set(read_runs(folder, split)["arm"])
    shown = [arm for arm in arms if arm in present]
    for text in (summary(folder, split), dedicated(folder, split, shown), by_subset(folder, split, shown)):
        sys.stdout.write(f"{text}\n\n")
