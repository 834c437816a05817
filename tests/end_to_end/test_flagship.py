"""The flagship through nnU-Net's own commands: teacher, student, prediction from the files that there are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod import host
from nnunet_missingmod.cli import main

LENGTH = {"num_epochs": 1, "num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}


def call(command, *arguments):
    """Run a command of this environment and return what it printed and its exit code."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / command), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout + done.stderr, done.returncode


@pytest.mark.slow
def test_teacher_student_prediction(make_tiny_dataset, preprocess, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    tiny = make_tiny_dataset()
    tiny.plans["configurations"]["3d_fullres"]["missingmod"] = LENGTH
    (tiny.preprocessed / "nnUNetPlans.json").write_text(json.dumps(tiny.plans))
    preprocess(tiny, "3d_fullres")
    (tiny.preprocessed / "gt_segmentations").mkdir()
    for case in tiny.cases:
        shutil.copy(tiny.label(case), tiny.preprocessed / "gt_segmentations")
    sent = tmp_path / "sent"
    sent.mkdir()
    shutil.copy(tiny.image(tiny.cases[0], 3), sent / "patient_0003.nii.gz")
    train = ("nnUNetv2_train", "901", "3d_fullres", "0", "-device", "cpu", "-tr")
    was_attached = not host.unattached()
    assert main(["attach"]) == 0
    try:
        said, code = call(*train, "nnUNetTrainerHolderMI")
        assert code != 0
        teacher = "nnUNetv2_train Dataset901_Tiny 3d_fullres 0 -tr nnUNetTrainerMedMAPTeacher -p nnUNetPlans"
        assert teacher in said
        said, code = call(*teacher.split(), "-device", "cpu")
        assert code == 0, said[-3000:]
        said, code = call(*train, "nnUNetTrainerHolderMI")
        assert code == 0, said[-3000:]
        assert "mutual_information" in said
        shutil.rmtree(tiny.results / "nnUNetTrainerMedMAPTeacher__nnUNetPlans__3d_fullres")
        model = ("-d", "901", "-c", "3d_fullres", "-f", "0", "-tr", "nnUNetTrainerHolderMI")
        said, code = call(
            "nnUNetv2_predict", "-i", sent, "-o", tmp_path / "out", *model, "-device", "cpu", "-npp", "1", "-nps", "1"
        )
        assert code == 0, said[-3000:]
    finally:
        if not was_attached:
            main(["detach"])
    predicted = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "patient.nii.gz")))
    assert predicted.shape == sitk.GetArrayFromImage(sitk.ReadImage(str(sent / "patient_0003.nii.gz"))).shape
    assert set(np.unique(predicted)) <= {0, 1, 2, 3}
