"""How followed trainings go: Dice of training and of validation cases after every second epoch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from score_files import read_scores
from settings import EPOCH_STEPS, HERE, Study

from nnunet_missingmod.evaluation.report.figures import DOTS_PER_INCH, line_colour
from nnunet_missingmod.evaluation.report.text import markdown_table

SPLITS = {"train": "--", "val": "-"}


def folder_of(study: Study) -> Path:
    """Return the folder of what trainings on phantoms were scored at while they ran."""
    return HERE / "curves" / study.name


def read_curves(study: Study) -> pd.Series:
    """Return mean Dice (%) by arm, number of present modalities, split and epoch, over seeds, cases and regions."""
    files = sorted(folder_of(study).glob(f"*{study.suffix}"))
    rows = pd.concat([read_scores(file) for file in files], ignore_index=True)
    rows["arm"] = rows["arm"].str.replace("_followed", "")
    return 100 * rows.groupby(["arm", "num_present", "split", "epoch"])["dice"].mean()


def curves_table(study: Study) -> str:
    """Return a Markdown table: for each arm, half-way and at the end, ``training / validation`` per number present."""
    curves = read_curves(study)
    counts = curves.index.unique("num_present")
    body = []
    for arm in curves.index.unique("arm"):
        epochs = curves.loc[arm].index.unique("epoch")
        for epoch in (epochs[len(epochs) // 2 - 1], epochs[-1]):
            at = curves.loc[arm].xs(epoch, level="epoch")
            cells = [f"{at[count, 'train']:.1f} / {at[count, 'val']:.1f}" for count in counts]
            body.append([arm, f"{epoch * EPOCH_STEPS:,}", *cells])
    head = ["arm", "steps", *(f"{count} of {len(counts)}" for count in counts)]
    return markdown_table(head, ["---", *["--:"] * (len(head) - 1)], body)


def draw_curves(study: Study, target: Path) -> None:
    """Draw Dice over steps, a panel per number of present modalities; training cases dashed, validation cases drawn."""
    curves = read_curves(study)
    counts = curves.index.unique("num_present")
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    for axis, count in zip(figure.subplots(1, len(counts), sharey=True), counts, strict=True):
        for index, arm in enumerate(curves.index.unique("arm")):
            for split, dashes in SPLITS.items():
                line = curves.loc[arm, count, split]
                label = f"{arm.replace('_', ' ')}, {'training' if split == 'train' else 'validation'}"
                steps = line.index * EPOCH_STEPS
                axis.plot(steps, line, dashes, color=line_colour(index), label=label)
        axis.set_title(f"{count} of {len(counts)} modalities")
        axis.set_xlabel("training steps")
    figure.axes[0].set_ylabel("mean Dice (%)")
    figure.axes[-1].legend(frameon=False, fontsize=7)
    target.mkdir(parents=True, exist_ok=True)
    figure.savefig(target / "benchmark_curves.png", dpi=DOTS_PER_INCH)
