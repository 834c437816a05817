"""Time MissingModPreprocessor against nnU-Net's on the same case, and with fewer files.

    python benchmarks/preprocessing_time.py [--pairs 8] [--size 96]

Files are read, checked, cropped, normalised and resampled from 1 mm to 1.25 mm. Prints ratios to nnU-Net's preprocessor
on the complete case, as median and quartiles over pairs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from measuring import compare, device_name, synchronised
from models import CONFIGURATION, NUM_MODALITIES, dataset_json, dataset_without_images, make_plans
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor

CPU = torch.device("cpu")
SPACING_MM = 1.25


def write_case(folder: Path, size: int) -> list[str]:
    """Write four NIfTI files of a head-like ball of noise, and return their names in channel order."""
    rng = np.random.default_rng(0)
    axis = np.linspace(-1, 1, size)
    inside = np.add.outer(np.add.outer(axis**2, axis**2), axis**2) < 0.8
    files = []
    for channel in range(NUM_MODALITIES):
        image = sitk.GetImageFromArray((rng.normal(100, 20, inside.shape) * inside).astype(np.float32))
        files.append(str(folder / f"case_{channel:04d}.nii.gz"))
        sitk.WriteImage(image, files[-1])
    return files


def measure(*, pairs: int, size: int) -> tuple[list[str], bool]:
    """Return the lines of the table; there is no limit to keep."""
    with dataset_without_images() as preprocessed:
        plans = make_plans("ExperimentPlanner", preprocessed, memory_target_gb=0.12)
    plans["configurations"][CONFIGURATION]["spacing"] = [SPACING_MM] * 3
    manager = PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)

    def run(preprocessor: Any, files: list[str]) -> Callable[[], float]:
        arguments = (files, None, manager, configuration, dataset_json())
        return synchronised(lambda: preprocessor(verbose=False).run_case(*arguments), CPU)

    with TemporaryDirectory() as folder:
        files = write_case(Path(folder), size)
        arms = {"all files": run(MissingModPreprocessor, files)}
        arms |= {f"{count} of {len(files)} files": run(MissingModPreprocessor, files[:count]) for count in (3, 2, 1)}
        ratios = compare(run(DefaultPreprocessor, files), arms, pairs=pairs)
    reference = next(iter(ratios.values())).reference
    return [
        f"Image {size}^3 to {SPACING_MM} mm, {pairs} pairs, stock {reference:.2f} s.",
        "",
        "| MissingModPreprocessor with | ratio to stock with all files | quartiles |",
        "| --- | --: | --: |",
        *(f"| {name} | {ratio.cells()} |" for name, ratio in ratios.items()),
    ], True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--size", type=int, default=96, help="voxels along each axis of the images")
    arguments = parser.parse_args()
    print(device_name(CPU), flush=True)
    lines, _ = measure(pairs=arguments.pairs, size=arguments.size)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
