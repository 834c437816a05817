"""Fingerprint, plans and preprocessing of incomplete training cases: nnU-Net's own command, attached and in memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

FEW = ("-d", "901", "-c", "3d_fullres", "-np", "1")
PLANNER = ("-pl", "MissingModPlanner")
EXTRACTOR = ("-fpe", "MissingModFingerprintExtractor")


def call(*command, **variables):
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [pytest.param("attached", marks=pytest.mark.every), "in memory"])
def test_incomplete_training_cases_are_planned_and_preprocessed(mode, make_tiny_dataset, attached, untouched_host):
    # Two modalities: the host draws 10^8 voxels of each, however small the dataset.
    tiny = make_tiny_dataset(names=("T1", "T2"), num_cases=3)
    tiny.image("case_000", 0).unlink()
    tiny.image("case_002", 1).unlink()
    (tiny.preprocessed / "dataset_fingerprint.json").unlink()
    if mode == "attached":
        call("nnUNetv2_plan_and_preprocess", *FEW, "-npfp", "2", *EXTRACTOR, *PLANNER)
    else:
        in_memory = {**untouched_host, "nnUNet_extTrainer": ""}
        call("nnunet_missingmod", "plan", *FEW, "-npfp", "2", *PLANNER, **in_memory)
    plans = json.loads((tiny.preprocessed / "nnUNetMissingModPlans.json").read_text())
    fullres = plans["configurations"]["3d_fullres"]
    assert plans["experiment_planner_used"] == "MissingModPlanner"
    assert fullres["preprocessor_name"] == "MissingModPreprocessor"
    check_marks(tiny, fullres)
    if mode == "in memory":
        shutil.rmtree(tiny.preprocessed / fullres["data_identifier"])
        call("nnunet_missingmod", "preprocess", *FEW, "-plans_name", "nnUNetMissingModPlans", **in_memory)
        check_marks(tiny, fullres)


def check_marks(tiny, configuration):
    data = nnUNetDatasetBlosc2(str(tiny.preprocessed / configuration["data_identifier"]))
    absent = {}
    for case in tiny.cases:
        image = np.asarray(data.load_case(case)[0])
        absent[case] = [channel for channel in range(2) if np.isnan(image[channel]).all()]
        assert np.isfinite(np.delete(image, absent[case], axis=0)).all()
    assert absent == {"case_000": [0], "case_001": [], "case_002": [1]}
