"""The report that is made anew is a small process: it imports neither torch nor, but for the reader, nnU-Net."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from benchmarking.some_rows import EVERY, TASK, some_rows

from nnunet_missingmod.benchmarking.network_store import save_costs, save_latents
from nnunet_missingmod.benchmarking.parts import FOLDER, Part, ReportOptions, Rows, Shared, write_part
from nnunet_missingmod.benchmarking.store import PredictionStore
from nnunet_missingmod.evaluation.agreement import AgreementRow
from nnunet_missingmod.evaluation.modality_gap import Latents
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card

CASES = tuple(f"case{index}" for index in range(5))
COST = {"parameters": 10, "folds": 1, "seconds": 1.0, "peak_bytes": 10, "voxels": [8, 8, 8], "device": "a CPU"}
RUN = """
import sys
from nnunet_missingmod.cli import main
code = main(sys.argv[1:])
names = [name for name in sys.modules if name.partition(".")[0] in ("torch", "nnunetv2")]
print("imported", *sorted(names))
sys.exit(code)
"""


@pytest.fixture
def whole(tmp_path):
    """What a whole evaluation of a model and one from outside leaves, with everything that a report can show."""
    out, model = tmp_path / "out", tmp_path / "model"
    model.mkdir()
    image = sitk.GetImageFromArray(np.pad(np.ones((4, 4, 4), np.uint8), 2))
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    store = PredictionStore(out / "predictions" / "ours", TASK.modalities, TASK.file_ending)
    for case in CASES:
        for subset in EVERY:
            store.file(case, subset).parent.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(image, str(store.file(case, subset)))
    shared = Shared(
        task=TASK,
        subsets=tuple(EVERY),
        models={"ours": str(model)},
        outside={"A (outside)": "predictions"},
        tolerance_mm=1.0,
        label_map={},
        settings={"tile_step_size": 0.5, "mirroring": True},
        cases=CASES,
    )
    part = Part(
        0,
        1,
        shared,
        ReportOptions(margin=1.0, prevalence={(0,): 1.0}, patients="(.+)"),
        "the command",
        "test folder",
        {},
        CASES,
        files={case: (str(tmp_path / "image.nii.gz"),) * 2 for case in CASES},
        weights={"ours": {"0": "w"}},
        folds_together={"ours": (2,)},
        finished=True,
    )
    scores = [*some_rows("ours"), *some_rows("A (outside)")]
    agreement = [
        AgreementRow("ours", "0", row.case, row.subset, row.num_present, row.region, "folds", row.dice)
        for row in scores[: len(scores) // 2]
    ]
    write_part(part, out, Rows(scores, agreement))
    save_costs({"ours": {"cost": COST}}, out / FOLDER)
    rng = np.random.default_rng(0)
    latents = Latents(rng.normal(size=(3, 40, 4)).astype(np.float32), TASK.modalities, np.repeat([0, 1], 20))
    save_latents({"ours": latents}, out, ["ours"])
    return out


def test_the_report_made_anew_imports_no_torch_and_of_nnunet_the_readers_of_pictures_alone(whole):
    command = [sys.executable, "-W", "ignore", "-c", RUN, "evaluate", "-o", str(whole), "--report", "--margin", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("report.html", "per_subject.csv", "figures/cases.png", "figures/latents.png"):
        assert (whole / name).stat().st_size > 0
    assert read_card(whole.parent / "model" / FILE_NAME).uncertainty["folds"].folds == 2
    page = (whole / "report.html").read_text()
    assert "How sure is a single case?" in page
    assert "a CPU" in page
    imported = done.stdout.splitlines()[-1].split()
    assert imported[0] == "imported"
    readers = ("nnunetv2.imageio", "nnunetv2.utilities.find_class_by_name")
    others = [each for each in imported[1:] if each not in ("nnunetv2", "nnunetv2.utilities")]
    assert [each for each in others if not each.startswith(readers)] == []
    # Without anything to draw, not even those.
    for file in (whole / FOLDER).glob("*.json"):
        content = json.loads(file.read_text())
        if "files" in content:
            file.write_text(json.dumps({**content, "files": {}}))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported"
