"""The main job through nnU-Net's own commands in subprocesses: plan, train, continue, predict, export, install.

Nothing is written into nnU-Net, which finds our classes by a variable. What one mode has trained is used in the other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

TRAINER = "nnUNetTrainerModalityDropout"
MODEL = ("-d", "501", "-c", "3d_fullres", "-tr", TRAINER, "-p", "nnUNetPlans")

# What the hospital sends: any file of any case may be missing, _0000 too.
SENT = {"phantom-test-001": (1, 2, 3), "phantom-test-002": (3,), "phantom-test-003": (0, 1, 2, 3)}


def call(*command, check=True, without=()):
    """Run a command of this environment, without some of the variables, and return its output."""
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [str(program), *map(str, command[1:])],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name not in without},
    )
    if check:
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory, untouched_host):
    """Environment variables, phantom, plans and a trained model."""
    root = tmp_path_factory.mktemp("world")
    patch = pytest.MonkeyPatch()
    for variable, value in untouched_host.items():
        patch.setenv(variable, value)
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / variable).mkdir()
        patch.setenv(variable, str(root / variable))
    for variable in ("nnUNet_n_proc_DA", "nnUNet_def_n_proc", "OMP_NUM_THREADS"):
        patch.setenv(variable, "1")
    call("nnunet_missingmod", "phantom", "--cases", 6, "--test-cases", 3, "--size", 28, 28, 28)
    call("nnUNetv2_plan_and_preprocess", "-d", 501, "-c", "3d_fullres", "-np", 1, "-npfp", 1)
    set_block(root, num_epochs=1)
    # Trainings augment in their own process: starting others takes longer than these epochs. The planner needs one.
    patch.setenv("nnUNet_n_proc_DA", "0")
    call("nnUNetv2_train", 501, "3d_fullres", 0, "-tr", TRAINER, "-device", "cpu")
    yield root
    patch.undo()


def set_block(root, **block):
    file = root / "nnUNet_preprocessed/Dataset501_Phantom/nnUNetPlans.json"
    plans = json.loads(file.read_text())
    chosen = plans["configurations"]["3d_fullres"]
    arguments = chosen["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [4, 8, 8, 8, 8][: arguments["n_stages"]]
    chosen["missingmod"] = {"num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 2, **block}
    file.write_text(json.dumps(plans))


@pytest.fixture(scope="module")
def incomplete(world):
    folder = world / "incomplete"
    folder.mkdir()
    complete = world / "nnUNet_raw/Dataset501_Phantom/imagesTs_complete"
    for case, channels in SENT.items():
        for channel in channels:
            shutil.copy(complete / f"{case}_{channel:04d}.nii.gz", folder)
    return folder


@pytest.fixture(scope="module")
def predicted(world, incomplete):
    target = world / "predicted"
    command = ["nnUNetv2_predict", "-i", incomplete, "-o", target, *MODEL, "-f", 0, "-device", "cpu"]
    call(*command, "-npp", 2, "-nps", 1)
    return target


def read(file):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


@pytest.mark.slow
def test_stock_predict_on_missing_files_equals_an_explicit_absence_mark_bit_for_bit(world, incomplete, predicted):
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    complete = world / "nnUNet_raw/Dataset501_Phantom/imagesTs_complete"
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    model = world / f"nnUNet_results/Dataset501_Phantom/{TRAINER}__nnUNetPlans__3d_fullres"
    predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
    found = set()
    for case, channels in SENT.items():
        data, properties = SimpleITKIO().read_images([str(complete / f"{case}_{c:04d}.nii.gz") for c in range(4)])
        data[[c for c in range(4) if c not in channels]] = np.nan
        marked = predictor.predict_single_npy_array(data, properties, None, None, False)
        np.testing.assert_array_equal(read(predicted / f"{case}.nii.gz"), marked)
        found |= set(np.unique(marked))
    assert found > {0}, "an empty prediction would be equal whatever happened"


@pytest.mark.slow
def test_our_command_and_the_stock_one_of_an_attached_host_write_the_same_segmentations(
    world, incomplete, predicted, tmp_path, untouched_host, attached
):
    call("nnunet_missingmod", "predict", "-i", incomplete, "-o", tmp_path / "ours", *MODEL, "-f", 0, "-device", "cpu")
    command = ["nnUNetv2_predict", "-i", incomplete, "-o", tmp_path / "stock", *MODEL, "-f", 0, "-device", "cpu"]
    call(*command, "-npp", 0, "-nps", 0, without=untouched_host)
    for case in SENT:
        expected = (predicted / f"{case}.nii.gz").read_bytes()
        assert (tmp_path / "ours" / f"{case}.nii.gz").read_bytes() == expected
        assert (tmp_path / "stock" / f"{case}.nii.gz").read_bytes() == expected


@pytest.mark.slow
def test_a_refused_case_says_why_on_the_stock_path(world, tmp_path):
    complete = world / "nnUNet_raw/Dataset501_Phantom/imagesTs_complete"
    content = (complete / "phantom-test-001_0000.nii.gz").read_bytes()
    (tmp_path / "cut_0001.nii.gz").write_bytes(content[: len(content) // 2])
    command = ["nnUNetv2_predict", "-i", tmp_path, "-o", tmp_path / "out", *MODEL, "-f", 0, "-device", "cpu"]
    said = call(*command, "-npp", 1, "-nps", 1, check=False)
    assert "Case 'cut' refused" in said
    assert "(T1) cannot be read: the file is truncated" in said
    assert not list((tmp_path / "out").glob("*.nii.gz"))


@pytest.mark.slow
def test_the_flagship_learns_from_a_teacher_of_an_attached_host_and_predicts_without_it(
    world, incomplete, untouched_host, attached
):
    train = ("nnUNetv2_train", 501, "3d_fullres", 0, "-device", "cpu", "-tr")
    said = call(*train, "nnUNetTrainerHolderMI", check=False)
    assert "nnUNetv2_train Dataset501_Phantom 3d_fullres 0 -tr nnUNetTrainerMedMAPTeacher" in said
    call(*train, "nnUNetTrainerMedMAPTeacher", without=untouched_host)
    said = call(*train, "nnUNetTrainerHolderMI")
    assert all(term in said for term in ("segmentation", "alignment", "divergence", "mutual_information"))
    teacher = world / "nnUNet_results/Dataset501_Phantom/nnUNetTrainerMedMAPTeacher__nnUNetPlans__3d_fullres"
    shutil.rmtree(teacher)
    call("nnUNetv2_train", 501, "3d_fullres", 0, "-device", "cpu", "-tr", "nnUNetTrainerHolderMI", "--val")
    target = world / "by_the_flagship"
    model = ("-d", 501, "-c", "3d_fullres", "-tr", "nnUNetTrainerHolderMI", "-f", 0, "-device", "cpu")
    call("nnUNetv2_predict", "-i", incomplete, "-o", target, *model, "-npp", 1, "-nps", 1)
    assert {file.name for file in target.glob("*.nii.gz")} == {f"{case}.nii.gz" for case in SENT}


@pytest.mark.slow
def test_continued_training_validation_and_sharing_of_the_model(world, incomplete, predicted):
    model = world / f"nnUNet_results/Dataset501_Phantom/{TRAINER}__nnUNetPlans__3d_fullres"
    checkpoint = model / "fold_0/checkpoint_final.pth"
    first = torch.load(checkpoint, weights_only=False)
    assert (first["current_epoch"], first["trainer_name"]) == (1, TRAINER)

    set_block(world, num_epochs=2)
    said = call("nnUNetv2_train", 501, "3d_fullres", 0, "-tr", TRAINER, "-device", "cpu", "--c")
    assert "Epoch 1" in said
    assert "Epoch 0" not in said
    assert "of 4 modalities" in said
    assert torch.load(checkpoint, weights_only=False)["current_epoch"] == 2
    assert (model / "fold_0/validation/summary.json").exists()

    best = call("nnUNetv2_find_best_configuration", 501, "-c", "3d_fullres", "-tr", TRAINER, "-f", 0, "-np", 1)
    assert TRAINER in best

    zipped = world / "model.zip"
    call("nnUNetv2_export_model_to_zip", *MODEL, "-f", 0, "-o", zipped)
    before = world / "before"
    predict = ("nnUNetv2_predict", "-i", incomplete, *MODEL, "-f", 0, "-device", "cpu", "-npp", 1, "-nps", 1)
    call(*predict, "-o", before)
    shutil.rmtree(world / "nnUNet_results")
    (world / "nnUNet_results").mkdir()
    call("nnUNetv2_install_pretrained_model_from_zip", zipped)
    os.rename(before, world / "kept")
    call(*predict, "-o", before)
    for case in SENT:
        np.testing.assert_array_equal(read(before / f"{case}.nii.gz"), read(world / "kept" / f"{case}.nii.gz"))
