"""How the arms of the equal-budget study compare as trainings get longer: a table and a figure."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from equal_budgets_study import LENGTHS, at_length
from matplotlib.figure import Figure
from settings import EPOCH_STEPS, HERE, Study
from tables import read_runs

from nnunet_missingmod.evaluation.report.figures import DOTS_PER_INCH, line_colour
from nnunet_missingmod.evaluation.report.text import markdown_table

SHOWN = ("average_presence_adapters", "average_presence", "average", "flagship", "dropout", "zero_fill")


def means(study: Study, split: str, num_present: int | None = None) -> pd.DataFrame:
    """Return mean Dice (%) by arm and length, over the seeds that a length has, with columns mean, low, high, seeds.

    Args:
        num_present: only subsets of so many modalities; by default all.
    """
    rows = read_runs(HERE / "runs" / study.name, split)
    if num_present is not None:
        rows = rows[rows["num_present"] == num_present]
    found = []
    for arm in SHOWN:
        for length in LENGTHS:
            by_seed = 100 * rows[rows["arm"] == at_length(arm, length)].groupby("seed")["dice"].mean()
            if len(by_seed):
                found.append((arm, length, by_seed.mean(), by_seed.min(), by_seed.max(), len(by_seed)))
    return pd.DataFrame(found, columns=["arm", "length", "mean", "low", "high", "seeds"])


def scaling_table(study: Study, split: str) -> str:
    """Return a Markdown table: an arm per row, mean Dice (%) and the difference from modality dropout per length.

    The difference is over the seeds that both have at that length.
    """
    rows = read_runs(HERE / "runs" / study.name, split)
    by_seed = 100 * rows.groupby(["arm", "seed"])["dice"].mean()
    steps = study.num_epochs * EPOCH_STEPS
    body = []
    for arm in SHOWN:
        cells = []
        for length in LENGTHS:
            name, baseline = at_length(arm, length), at_length("dropout", length)
            if name not in by_seed.index:
                cells.append("")
                continue
            cell = f"{by_seed.loc[name].mean():.1f}"
            if arm != "dropout" and baseline in by_seed.index:
                paired = (by_seed.loc[name] - by_seed.loc[baseline]).dropna()
                cell += f" ({paired.mean():+.1f}; {len(paired)})".replace("-", "\N{MINUS SIGN}")
            cells.append(cell)
        body.append([arm, *cells])
    head = ["arm", *(f"{steps * length:,} steps" for length in LENGTHS)]
    return markdown_table(head, ["---", *["--:"] * len(LENGTHS)], body)


def draw_scaling(study: Study, split: str, target: Path) -> None:
    """Draw mean Dice over the number of steps: over all subsets, and with all modalities."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    steps = study.num_epochs * EPOCH_STEPS
    for axis, count, title in zip(
        figure.subplots(1, 2), (None, 4), ("all subsets", "all four modalities"), strict=True
    ):
        table = means(study, split, count)
        for index, arm in enumerate(SHOWN):
            of_arm = table[table["arm"] == arm]
            axis.errorbar(
                of_arm["length"] * steps,
                of_arm["mean"],
                yerr=[of_arm["mean"] - of_arm["low"], of_arm["high"] - of_arm["mean"]],
                color=line_colour(index),
                marker="o",
                capsize=3,
                label=arm.replace("_", " "),
            )
        axis.set_xscale("log", base=2)
        axis.set_xticks([length * steps for length in LENGTHS], [f"{length * steps:,}" for length in LENGTHS])
        axis.set_xlabel("training steps in all")
        axis.set_title(title)
    figure.axes[0].set_ylabel("mean Dice (%)")
    figure.axes[0].legend(frameon=False, fontsize=8)
    target.mkdir(parents=True, exist_ok=True)
    figure.savefig(target / "benchmark_scaling.png", dpi=DOTS_PER_INCH)
