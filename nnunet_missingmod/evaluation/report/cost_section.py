"""The report's section on what each model costs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from nnunet_missingmod.evaluation.costs import Cost, CostRatio, cost_ratios
from nnunet_missingmod.evaluation.report.section import Section, SectionTable
from nnunet_missingmod.storage import write_text

_MEGABYTE = 1e6


def cost_section(costs: Mapping[str, Cost], baseline: str, folder: Path) -> Section | None:
    """Write ``tables/costs.csv`` and return the section, or None if nothing was measured.

    Args:
        costs: of the models that were measured, in their order.
        baseline: the model whose cost is 1.
        folder: of the report.
    """
    ratios = cost_ratios(costs, baseline)
    if not ratios:
        return None
    write_text(folder / "tables" / "costs.csv", _to_csv(ratios))
    head = ("model", "parameters (M)", "ratio", "time (s)", "ratio", "peak memory (MB)", "ratio")
    body = tuple(
        (
            _with_folds(each),
            f"{each.cost.parameters / 1e6:.2f}",
            _shown(each.parameters),
            f"{each.cost.seconds:.3g}",
            _shown(each.seconds),
            "" if each.cost.peak_bytes is None else f"{each.cost.peak_bytes / _MEGABYTE:.0f}",
            _shown(each.peak_bytes),
        )
        for each in ratios
    )
    places = dict.fromkeys(
        f"{each.cost.device}, {' x '.join(map(str, each.cost.voxels))} voxels after preprocessing" for each in ratios
    )
    return Section(
        "cost",
        "What does it cost?",
        "One case of each model (of its first fold that has cases, one with the most modalities), predicted after "
        f"reading and preprocessing ({'; '.join(places)}). Ratios are to {baseline}, of time and memory only where "
        "device and size of the case are the same. Peak memory is what the prediction takes beyond the weights. "
        "Programs that ran beside it slow it down: compare models of one run.",
        (SectionTable("Cost of a prediction", head, body),),
    )


def _with_folds(each: CostRatio) -> str:
    return each.model if each.cost.folds == 1 else f"{each.model} ({each.cost.folds} folds)"


def _shown(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _to_csv(ratios: list[CostRatio]) -> str:
    text = io.StringIO()
    lines = [
        {
            "model": each.model,
            **asdict(each.cost),
            "voxels": "x".join(map(str, each.cost.voxels)),
            "parameters_ratio": each.parameters,
            "seconds_ratio": each.seconds,
            "peak_bytes_ratio": each.peak_bytes,
        }
        for each in ratios
    ]
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
