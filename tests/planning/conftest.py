"""What the planning tests share: a raw dataset whose files are empty and whose fingerprint is made up."""

from __future__ import annotations

import json
import shutil
from importlib import import_module

import pytest
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_missingmod.host import CLASS_TABLE

DATASET = "Dataset902_Planned"
BRAIN = ([140, 170, 137], [1.0, 1.0, 1.0])
INTENSITIES = {"mean": 1.0, "median": 1.0, "std": 1.0, "min": 0.0, "max": 2.0}


@pytest.fixture(scope="session")
def planned_before():
    """Planners that have planned, by what they were asked: several tests look at one result."""
    return {}


@pytest.fixture
def make_plans_of(tmp_path, monkeypatch, planned_before):
    """Return a function that plans a dataset of J modalities by a planner's class or name, and returns the planner.

    ``files`` holds, per case, the channels that have one; ``before``, plans of the host that are there already. The
    planner's ``folder`` is where it wrote.
    """

    def plan(
        planner,
        num_modalities=4,
        image=BRAIN,
        *,
        files=None,
        num_training=1000,
        relative_size=0.5,
        before=None,
        **arguments,
    ):
        asked = (planner, num_modalities, repr((image, files, num_training, relative_size, before, arguments)))
        if asked in planned_before:
            return planned_before[asked]
        for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            monkeypatch.setenv(variable, str(tmp_path / variable))
        monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # the host's planner sets torch's threads to it
        raw, preprocessed = (tmp_path / kind / DATASET for kind in ("nnUNet_raw", "nnUNet_preprocessed"))
        shutil.rmtree(preprocessed, ignore_errors=True)
        (raw / "labelsTr").mkdir(parents=True, exist_ok=True)
        preprocessed.mkdir(parents=True, exist_ok=True)
        listed = {}
        for case, channels in enumerate(files or [range(num_modalities)]):
            images = [f"imagesTr/case{case}_{channel:04d}.nii.gz" for channel in channels]
            for file in images:
                (raw / file).parent.mkdir(exist_ok=True)
                (raw / file).touch()
            listed[f"case{case}"] = {"images": images, "label": f"labelsTr/case{case}.nii.gz"}
        (raw / "dataset.json").write_text(
            json.dumps(
                {
                    "channel_names": {str(channel): f"M{channel}" for channel in range(num_modalities)},
                    "labels": {"background": 0, "a": 1, "b": 2, "c": 3},
                    "numTraining": num_training,
                    "file_ending": ".nii.gz",
                    "dataset": listed,
                }
            )
        )
        (preprocessed / "dataset_fingerprint.json").write_text(
            json.dumps(
                {
                    "shapes_after_crop": [image[0]] * 5,
                    "spacings": [image[1]] * 5,
                    "median_relative_size_after_cropping": relative_size,
                    "foreground_intensity_properties_per_channel": {
                        str(channel): INTENSITIES for channel in range(num_modalities)
                    },
                }
            )
        )
        if before is not None:
            (preprocessed / "nnUNetPlans.json").write_text(json.dumps(before))
        if isinstance(planner, str):
            planner = getattr(import_module(CLASS_TABLE[planner]), planner)
        # The files are not there to be read.
        monkeypatch.setattr(planner, "determine_reader_writer", lambda self: SimpleITKIO)
        planned = planner(902, **arguments)
        with torch.device("meta"):  # the host builds a network for each patch size it tries
            planned.plan_experiment()
        planned.folder = preprocessed
        planned_before[asked] = planned
        return planned

    return plan
