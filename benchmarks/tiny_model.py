"""A model folder with random weights and cases to go with it: small enough to predict thousands of times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_missingmod.trainers.nnUNetTrainerModalityDropout import nnUNetTrainerModalityDropout
from nnunet_missingmod.training.trainer import MissingModTrainer

NAMES = ("FLAIR", "T1", "T1ce", "T2")
CONFIGURATION = "3d_fullres"
SHAPE = (12, 14, 16)
SPACING_MM = (1.5, 1.0, 1.25)  # as SimpleITK orders it
ORIGIN_MM = (-20.0, 31.0, 7.5)
DIRECTION = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)

# Of cases: what file names may hold.
ODD_NAMES = ("case", "ünïcode", "with space", "dots.in.name", "-dash", "under_0001_score", "quote'd", "%s{0}")

Array = npt.NDArray[Any]


def make_plans(*, reader: str, patch: Sequence[int] = (16, 16, 16), names: Sequence[str] = NAMES) -> dict[str, Any]:
    """Return nnU-Net plans of one configuration whose spacing is the cases', so that nothing is resampled."""
    stages = 3
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [4, 8, 8],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3] * 3] * stages,
            "strides": [[1] * 3] + [[2] * 3] * (stages - 1),
            "n_conv_per_stage": [1] * stages,
            "n_conv_per_stage_decoder": [1] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    configuration = {
        "data_identifier": f"nnUNetPlans_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": list(SHAPE),
        "spacing": list(SPACING_MM[::-1]),
        "normalization_schemes": ["ZScoreNormalization"] * len(names),
        "use_mask_for_norm": [False] * len(names),
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "architecture": architecture,
        "batch_dice": False,
    }
    return {
        "dataset_name": "Dataset900_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(SPACING_MM[::-1]),
        "original_median_shape_after_transp": list(SHAPE),
        "image_reader_writer": reader,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(channel): {} for channel in range(len(names))},
    }


def write_tiny_model(folder: Path, *, file_ending: str = ".nii.gz", reader: str = "SimpleITKIO") -> Path:
    """Write the folder of a model of three labels and return it."""
    return write_model(folder, make_plans(reader=reader), nnUNetTrainerModalityDropout, file_ending=file_ending)


def write_model(
    folder: Path,
    plans: dict[str, Any],
    trainer: type[nnUNetTrainer],
    *,
    file_ending: str = ".nii.gz",
    mirroring_axes: tuple[int, ...] | None = None,
    names: Sequence[str] = NAMES,
) -> Path:
    """Write the folder of a trainer's model of three labels under these plans, its weights random; return it."""
    dataset_json = {
        "channel_names": {str(channel): name for channel, name in enumerate(names)},
        "labels": {"background": 0, "NCR": 1, "ED": 2, "ET": 3},
        "numTraining": 1,
        "file_ending": file_ending,
    }
    if issubclass(trainer, MissingModTrainer):
        plans = trainer._with_choices(plans, CONFIGURATION)
    manager = PlansManager(plans)
    torch.manual_seed(0)
    network = trainer.build_network_architecture(
        manager, manager.get_configuration(CONFIGURATION), len(names), 4, False
    )
    (folder / "fold_0").mkdir(parents=True)
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": trainer.__name__,
        "init_args": {"configuration": CONFIGURATION, "fold": 0, "plans": plans, "dataset_json": dataset_json},
        "inference_allowed_mirroring_axes": mirroring_axes,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    return folder


def make_arrays(seed: int, shape: Sequence[int] = SHAPE) -> dict[int, Array]:
    """Return {channel: float32 (Z, Y, X)} without a zero anywhere, so that nothing is cropped."""
    rng = np.random.default_rng(seed)
    return {channel: rng.uniform(1, 100, shape).astype(np.float32) for channel in range(len(NAMES))}


def write_image(file: Path, array: Array, *, compress: bool = True, vector: bool = False) -> None:
    """Write an image with the geometry above."""
    image = sitk.GetImageFromArray(array, isVector=vector)
    if image.GetDimension() == len(SHAPE):
        image.SetSpacing(SPACING_MM)
        image.SetOrigin(ORIGIN_MM)
        image.SetDirection(DIRECTION)
    sitk.WriteImage(image, str(file), compress)
