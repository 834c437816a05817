"""A raw dataset whose cases lack files, through nnU-Net's own commands: fingerprint, plans, preprocessing, training."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

DATASET = "Dataset501_Phantom"
TRAINER = "nnUNetTrainerModalityDropout"
# Of 6 cases 3 are incomplete; one has FLAIR alone, which is _0000.
REMOVED = {"001": (0, 3), "002": (1, 2, 3), "004": (1,)}


@pytest.fixture
def call(tmp_path, attached, monkeypatch):
    """Return a function that runs a command of this environment on folders of its own and returns what it said."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    for variable in ("nnUNet_n_proc_DA", "nnUNet_def_n_proc", "OMP_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")

    def run(program, *arguments):
        done = subprocess.run(
            [str(Path(sys.executable).parent / program), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


def set_block(plans_file, **block):
    plans = json.loads(plans_file.read_text())
    chosen = plans["configurations"]["3d_fullres"]
    assert chosen["preprocessor_name"] == "MissingModPreprocessor"
    arguments = chosen["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [4, *[8] * (arguments["n_stages"] - 1)]
    chosen["missingmod"] = block
    plans_file.write_text(json.dumps(plans))


@pytest.mark.slow
def test_a_dataset_of_incomplete_cases_goes_from_raw_files_to_a_validated_model(call, tmp_path):
    call("nnunet_missingmod", "phantom", "--cases", 6, "--test-cases", 0, "--size", 28, 28, 28)
    for case, channels in REMOVED.items():
        for channel in channels:
            (tmp_path / f"nnUNet_raw/{DATASET}/imagesTr/phantom-train-{case}_{channel:04d}.nii.gz").unlink()
    ours = ("-fpe", "MissingModFingerprintExtractor", "-preprocessor_name", "MissingModPreprocessor")
    call("nnUNetv2_plan_and_preprocess", "-d", 501, "-c", "3d_fullres", "-np", 1, "-npfp", 1, *ours)
    preprocessed = tmp_path / "nnUNet_preprocessed" / DATASET
    set_block(
        preprocessed / "nnUNetPlans.json", num_epochs=1, num_iterations_per_epoch=2, num_val_iterations_per_epoch=2
    )
    cases = [f"phantom-train-{number:03d}" for number in range(1, 7)]
    # The case that has FLAIR alone is for validation.
    splits = [{"train": [*cases[:1], *cases[2:5]], "val": [cases[1], cases[5]]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))

    said = call("nnUNetv2_train", 501, "3d_fullres", 0, "-tr", TRAINER, "-device", "cpu")

    assert "2 of 4 training cases have all modalities" in said
    assert re.search(r"Cases per modality: FLAIR 3, T1 3, T1ce 4, T2 3\.", said)
    fold = tmp_path / "nnUNet_results" / DATASET / f"{TRAINER}__nnUNetPlans__3d_fullres" / "fold_0"
    weights = torch.load(fold / "checkpoint_final.pth", weights_only=False)["network_weights"]
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert sorted(file.name for file in (fold / "validation").glob("*.nii.gz")) == [
        "phantom-train-002.nii.gz",
        "phantom-train-006.nii.gz",
    ]
    summary = json.loads((fold / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 2
    assert not [file for file in fold.rglob(".*") if os.path.isfile(file)], "a temporary file was left"


def list_files(raw, removed):
    """Give the files of a dataset names without channel numbers, and list them in dataset.json."""
    content = json.loads((raw / "dataset.json").read_text())
    names = list(content["channel_names"].values())
    content["dataset"] = {}
    for case in sorted(file.name.removesuffix(".nii.gz") for file in (raw / "labelsTr").glob("*.nii.gz")):
        number = case[-3:]
        folder = raw / "patients" / number
        folder.mkdir(parents=True)
        listed = {}
        for channel, name in enumerate(names):
            image = raw / "imagesTr" / f"{case}_{channel:04d}.nii.gz"
            if channel not in removed.get(number, ()):
                listed[name] = f"patients/{number}/series {name}.nii.gz"
                image.rename(raw / listed[name])
        (raw / "labelsTr" / f"{case}.nii.gz").rename(folder / "seg.nii.gz")
        # Cases with an odd number are listed in order, the others by name.
        images = [listed.get(name, "") for name in names] if int(number) % 2 else listed
        content["dataset"][case] = {"images": images, "label": f"patients/{number}/seg.nii.gz"}
    for folder in ("imagesTr", "labelsTr"):
        shutil.rmtree(raw / folder)
    (raw / "dataset.json").write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.every
def test_a_dataset_that_lists_files_of_any_name_goes_from_raw_files_to_an_evaluation(call, tmp_path):
    call("nnunet_missingmod", "phantom", "--cases", 6, "--test-cases", 0, "--size", 28, 28, 28)
    raw = tmp_path / "nnUNet_raw" / DATASET
    list_files(raw, REMOVED)
    assert "Nothing is wrong with the files." in call("nnunet_missingmod", "inspect", "-d", 501)
    assert "phantom-train-001,Tr,0,1,1,0" in (raw / "presence.csv").read_text()

    ours = ("-pl", "MissingModPlanner")
    call("nnunet_missingmod", "plan", "-d", 501, "-c", "3d_fullres", "-np", 1, "-npfp", 1, *ours)
    preprocessed = tmp_path / "nnUNet_preprocessed" / DATASET
    plans = "nnUNetMissingModPlans"
    set_block(preprocessed / f"{plans}.json", num_epochs=1, num_iterations_per_epoch=2, num_val_iterations_per_epoch=2)
    cases = [f"phantom-train-{number:03d}" for number in range(1, 7)]
    splits = [{"train": [*cases[:1], *cases[2:5]], "val": [cases[1], cases[5]]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    said = call("nnUNetv2_train", 501, "3d_fullres", 0, "-tr", TRAINER, "-p", plans, "-device", "cpu")
    assert re.search(r"Cases per modality: FLAIR 3, T1 3, T1ce 4, T2 3\.", said)

    results = tmp_path / "results"
    of_model = ("-d", 501, "-c", "3d_fullres", "-tr", TRAINER, "-p", plans)
    call("nnunet_missingmod", "evaluate", *of_model, "--subsets", "full", "-o", results, "-device", "cpu", "-np", 1)
    scored = (results / "scores.csv").read_text()
    assert all(case in scored for case in splits[0]["val"][1:])
