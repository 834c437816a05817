"""An evaluation whose scores are `some_rows`, as a part of it that has come to its end."""

from __future__ import annotations

from dataclasses import replace

from benchmarking.some_rows import TASK

from nnunet_missingmod.benchmarking.parts import Part, ReportOptions, Rows, Shared
from nnunet_missingmod.benchmarking.report import write_evaluation


def evaluation(tmp_path, subsets, *models, options=None, **more):
    """An evaluation that is whole, its models' folders made."""
    for model in models:
        (tmp_path / model).mkdir(exist_ok=True)
    shared = Shared(
        task=TASK,
        subsets=tuple(subsets),
        models={model: str(tmp_path / model) for model in models},
        outside=more.pop("outside", {}),
        tolerance_mm=1.0,
        label_map={},
        settings={"tile_step_size": 0.5, "mirroring": True},
        cases=tuple(f"case{index}" for index in range(5)),
    )
    weights = {model: {"0": f"weights of {model}"} for model in models}
    whole = Part(0, 1, shared, options or ReportOptions(), "the command", "some cases", {}, shared.cases)
    return replace(whole, **{"weights": weights, "finished": True, **more})


def write(tmp_path, rows, subsets, *models, **more):
    failures = []
    whole = evaluation(tmp_path, subsets, *models, **more)
    return write_evaluation(whole, Rows(rows, []), tmp_path, failures), failures
