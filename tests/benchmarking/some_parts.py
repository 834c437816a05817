"""Parts of an evaluation of five made-up cases, and rows of theirs."""

from __future__ import annotations

from dataclasses import replace

from nnunet_missingmod.benchmarking.parts import Part, ReportOptions, Rows, Shared, share_of
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.evaluation.agreement import AgreementRow
from nnunet_missingmod.evaluation.scores import ScoreRow

TASK = Task(("T1", "T1+C"), {"whole": (1, 2), "core": (2,)}, 3, ".nii.gz", (0, 1, 2, 3), "SimpleITKIO")
CASES = ("a", "b", "c", "d", "e")
SHARED = Shared(
    task=TASK,
    subsets=((0,), (0, 1)),
    models={"ours": "/models/ours"},
    outside={"A (outside)": "predictions that lie in A"},
    tolerance_mm=1.0,
    label_map={4: 2},
    settings={"tile_step_size": 0.5, "mirroring": True},
    cases=CASES,
    folds={"ours": ("0",)},
    checkpoint="final.pth",
    contents={case: ("1", "2") for case in CASES[:4]},
)
NO_ROWS = Rows([], [])
OPTIONS = ReportOptions("ours", "nnunet", {"core": 50}, "(.)", {(0,): 3.0, (0, 1): 1.0})


def part(number=0, of=2, **more):
    cases = share_of(CASES, number, of)
    whole = Part(
        number=number,
        of=of,
        shared=SHARED,
        options=OPTIONS,
        command=f"part {number}",
        described="test folder",
        notes={"note": "a sentence"},
        cases=cases,
        files={case: (f"/images/{case}", f"/labels/{case}") for case in cases},
        predictions={"A (outside)": {case: {"T1": f"/A/T1/{case}"} for case in cases}},
        weights={"ours": {"0": "w"}},
        folds_together={"ours": (number + 1,)},
        seen={"ours": cases[:1]},
        failures=("everywhere",),
        finished=True,
    )
    return replace(whole, **more)


def row(case, model="ours", dice=0.5):
    return ScoreRow(model, "0", case, "T1", 1, "whole", dice, 1.0, 0.5, 1.0, 10, 10, 30.0)


def agreed(case, model="ours", kind="subsets"):
    return AgreementRow(model, "0", case, "T1+T1+C", 2, "whole", kind, 0.1 + 0.2)


def rows_of(each):
    both = [(case, model) for model in ("ours", "A (outside)") for case in each.cases]
    folds = [agreed(case, kind="folds") for case in each.cases]
    return Rows([row(*of) for of in both], [*folds, *(agreed(*of) for of in both)])
