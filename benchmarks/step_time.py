"""Time a training step of our trainers against stock nnUNetTrainer's, in turn, in one process, on the same batches.

    python benchmarks/step_time.py [--device cpu] [--pairs 40]

Prints the ratio ours / stock, pair by pair, as median and quartiles. The batch is random: a step's time does not depend
on what it shows. Stock steps are also timed against each other, which tells how far from 1 noise alone comes.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_missingmod.trainers.nnUNetTrainerModalityDropout import nnUNetTrainerModalityDropout
from nnunet_missingmod.trainers.nnUNetTrainerZeroFill import nnUNetTrainerZeroFill

NUM_MODALITIES = 4
NUM_CLASSES = 4
# patch, features per stage: what nnU-Net plans for BraTS on a GPU, and a network that a CPU can step in a second.
SIZES = {"cuda": ((128, 128, 128), (32, 64, 128, 256, 320, 320)), "cpu": ((40, 48, 40), (12, 24, 48, 96))}


def make_plans(patch: tuple[int, ...], features: tuple[int, ...]) -> dict[str, Any]:
    stages = len(features)
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    kinds = ("data", "seg", "probabilities")
    configuration = {
        "data_identifier": "benchmark",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "spacing": [1.0] * 3,
        "normalization_schemes": ["ZScoreNormalization"] * NUM_MODALITIES,
        "use_mask_for_norm": [True] * NUM_MODALITIES,
        **{f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in kinds},
        **{f"resampling_fn_{kind}_kwargs": resampling for kind in kinds},
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": list(features),
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * stages,
                "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
                "n_conv_per_stage": [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    return {
        "dataset_name": "Dataset900_Benchmark",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "configurations": {"3d_fullres": configuration},
        "continue_training": False,
    }


def make_trainer(kind: type[nnUNetTrainer], plans: dict[str, Any], device: torch.device) -> nnUNetTrainer:
    dataset_json = {
        "channel_names": {str(channel): f"M{channel}" for channel in range(NUM_MODALITIES)},
        "labels": {"background": 0, **{f"class {c}": c for c in range(1, NUM_CLASSES)}},
        "file_ending": ".nii.gz",
    }
    torch.manual_seed(0)
    trainer = kind(copy.deepcopy(plans), "3d_fullres", 0, dataset_json, device)
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    return trainer


def make_batch(trainer: nnUNetTrainer) -> dict[str, Any]:
    patch = trainer.configuration_manager.patch_size
    scales = trainer._get_deep_supervision_scales()
    return {
        "data": torch.randn(2, NUM_MODALITIES, *patch),
        "target": [
            torch.randint(0, NUM_CLASSES, (2, 1, *[round(n * s) for n, s in zip(patch, scale, strict=True)])).float()
            for scale in scales
        ],
    }


def time_step(trainer: nnUNetTrainer, batch: dict[str, Any]) -> float:
    # A step may write into its batch; the loader would have made a new one.
    own = {"data": batch["data"].clone(), "target": list(batch["target"])}
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    trainer.train_step(own)  # ends with the loss on the host, so a GPU has finished
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--warmup", type=int, default=4)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    patch, features = SIZES[device.type]
    print(f"torch {torch.__version__}, {name}, patch {patch}, features {features}, batch 2")

    with tempfile.TemporaryDirectory() as folder:
        for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[variable] = str(Path(folder) / variable)
        preprocessed = Path(folder) / "nnUNet_preprocessed" / "Dataset900_Benchmark" / "benchmark"
        preprocessed.mkdir(parents=True)
        (preprocessed / "case.b2nd").touch()  # nnU-Net tells the kind of a dataset by its files' endings
        plans = make_plans(patch, features)
        stock = make_trainer(nnUNetTrainer, plans, device)
        batch = make_batch(stock)
        for kind in (nnUNetTrainer, nnUNetTrainerZeroFill, nnUNetTrainerModalityDropout):
            other = make_trainer(kind, plans, device)
            ratios, times = [], []
            for pair in range(arguments.warmup + arguments.pairs):
                # The order alternates, so that a drift of the machine's speed favours neither.
                order = (stock, other) if pair % 2 else (other, stock)
                seconds = {id(trainer): time_step(trainer, batch) for trainer in order}
                if pair >= arguments.warmup:
                    ratios.append(seconds[id(other)] / seconds[id(stock)])
                    times.append(seconds[id(stock)])
            low, median, high = statistics.quantiles(ratios, n=4)
            print(
                f"{kind.__name__:30} ratio to stock: median {median:.3f}, quartiles {low:.3f} to {high:.3f}, "
                f"{len(ratios)} pairs, stock step {statistics.median(times) * 1000:.0f} ms"
            )


if __name__ == "__main__":
    main()
