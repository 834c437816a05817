"""What plans lack is said when the model is loaded, not when the first case is half predicted."""

from __future__ import annotations

import json

import pytest
import torch

from nnunet_missingmod import Predictor
from nnunet_missingmod.inference.model_files import ModelFolderError
from nnunet_missingmod.inference.model_folder import plans_errors_explained

TRAINER = "nnUNetTrainerModalityDropout"


@pytest.mark.parametrize("missing", ["preprocessor_name", "normalization_schemes", "patch_size"])
def test_plans_that_lack_something_are_refused_before_the_first_case(make_tiny_dataset, make_model, missing):
    tiny = make_tiny_dataset(num_cases=0)
    folder = make_model(tiny, TRAINER)
    plans = json.loads((folder / "plans.json").read_text())
    del plans["configurations"]["3d_fullres"][missing]
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelFolderError, match=rf"plans\.json or dataset\.json of .* cannot be used.*{missing}"):
        Predictor.from_model_folder(folder, device="cpu")


@pytest.mark.parametrize("missing", ["missingmod", "channel_encoder"])
def test_plans_that_lack_the_choices_of_the_checkpoints_trainer_are_refused_with_both(
    make_tiny_dataset, make_model, missing
):
    folder = make_model(make_tiny_dataset(num_cases=0), "nnUNetTrainerHolderMISelf")
    plans = json.loads((folder / "plans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    del (configuration if missing in configuration else configuration["missingmod"])[missing]
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(
        ModelFolderError, match=rf"no entry '{missing}', which the trainer of .*nnUNetTrainerHolderMISelf"
    ):
        Predictor.from_model_folder(folder, device="cpu")


def test_errors_that_say_what_is_wrong_pass_unchanged(tmp_path):
    with pytest.raises(ValueError, match="^told$"), plans_errors_explained(tmp_path):
        raise ValueError("told")
    for error in (OSError("no space"), torch.OutOfMemoryError("told"), MemoryError("told")):
        with pytest.raises(type(error)), plans_errors_explained(tmp_path):
            raise error
    for error in (AttributeError("untold"), RuntimeError("untold"), RecursionError("untold"), NameError("untold")):
        expected = f"{type(error).__name__}: untold"
        with pytest.raises(ModelFolderError, match=expected), plans_errors_explained(tmp_path):
            raise error


@pytest.mark.parametrize(
    ("entry", "value"), [("image_reader_writer", "NoSuchReader"), ("resampling_fn_data", "no_such_function")]
)
def test_what_nnunet_does_not_know_is_said_with_the_folder(make_tiny_dataset, make_model, entry, value):
    tiny = make_tiny_dataset(num_cases=0)
    folder = make_model(tiny, "nnUNetTrainerModalityDropout")
    plans = json.loads((folder / "plans.json").read_text())
    of = plans if entry in plans else plans["configurations"]["3d_fullres"]
    of[entry] = value
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelFolderError, match=rf"{folder} cannot be used \(RuntimeError: .*{value}"):
        Predictor.from_model_folder(folder, device="cpu")


@pytest.mark.parametrize("name", ["os", "np", "BaseReaderWriter.__doc__"])
def test_what_is_there_and_no_reader_is_refused(make_tiny_dataset, make_model, name):
    folder = make_model(make_tiny_dataset(num_cases=0), "nnUNetTrainerModalityDropout")
    plans = json.loads((folder / "plans.json").read_text())
    plans["image_reader_writer"] = name
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelFolderError, match=f"none of nnU-Net's readers|cannot be used .*{name.split('.')[0]}"):
        Predictor.from_model_folder(folder, device="cpu")
