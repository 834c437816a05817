"""Time ``nnunet_missingmod predict`` against ``nnUNetv2_predict`` on a folder of cases, with a small network.

    python benchmarks/predict_time.py [--cases 24] [--rounds 1] [--device cpu] [--disable_tta]

Cases have the size of BraTS's, 240 x 240 x 155, a head of 140 x 170 x 137 in them, and all four modalities; patches
are 128 x 128 x 128. The network is so small that reading, preprocessing and writing take as long as it does. Both
commands start anew, with the numbers of threads or processes that they start with by default. Prints the ratio of
seconds, starting included, and the seconds of each round. Exit code 1 if a limit is exceeded or predictions differ.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk
from measuring import device_name
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from tiny_model import CONFIGURATION, NAMES, make_plans, write_model
from torch import device as torch_device

from nnunet_missingmod.trainers.nnUNetTrainerModalityDropout import nnUNetTrainerModalityDropout

SIZE, HEAD = (155, 240, 240), (137, 170, 140)
PATCH = (128, 128, 128)
LARGEST_RATIO = 1.05


def write_cases(folder: Path, number: int) -> None:
    """Write one case of noise in a head of background 0, under so many names."""
    rng = np.random.default_rng(0)
    axes = [(np.arange(size) - size / 2) / (head / 2) for size, head in zip(SIZE, HEAD, strict=True)]
    inside = np.add.outer(np.add.outer(axes[0] ** 2, axes[1] ** 2), axes[2] ** 2) < 1
    folder.mkdir()
    for channel in range(len(NAMES)):
        image = sitk.GetImageFromArray((rng.normal(400, 100, SIZE).clip(1) * inside).astype(np.int16))
        first = folder / f"case_000_{channel:04d}.nii.gz"
        sitk.WriteImage(image, str(first), True)
        for case in range(1, number):
            shutil.copy(first, folder / f"case_{case:03d}_{channel:04d}.nii.gz")


def write_models(folder: Path) -> dict[str, Path]:
    """Write the same network as a model of stock nnU-Net's and of ours."""
    plans = make_plans(reader="SimpleITKIO", patch=PATCH)
    plans["configurations"][CONFIGURATION]["spacing"] = [1.0, 1.0, 1.0]
    trainers = {"stock": nnUNetTrainer, "ours": nnUNetTrainerModalityDropout}
    return {
        name: write_model(folder / name / f"{trainer.__name__}__nnUNetPlans__{CONFIGURATION}", plans, trainer)
        for name, trainer in trainers.items()
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time of whole folders against stock nnU-Net's.")
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--disable_tta", action="store_true")
    args = parser.parse_args(argv)
    print(device_name(torch_device(args.device)), flush=True)
    with TemporaryDirectory() as name:
        root = Path(name)
        write_cases(root / "in", args.cases)
        models = write_models(root)
        programs = {"stock": ["nnUNetv2_predict_from_modelfolder"], "ours": ["nnunet_missingmod", "predict"]}
        seconds: dict[str, list[float]] = {"stock": [], "ours": []}
        for number in range(args.rounds):
            for kind in ("stock", "ours") if number % 2 == 0 else ("ours", "stock"):
                out = root / f"out_{kind}"
                command = [*programs[kind], "-i", str(root / "in"), "-o", str(out), "-m", str(models[kind])]
                command += ["-f", "0", "-device", args.device, *["--disable_tta"] * args.disable_tta]
                shutil.rmtree(out, ignore_errors=True)
                began = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **_folders(root)})
                seconds[kind].append(time.perf_counter() - began)
                print(f"{kind}: {seconds[kind][-1]:.1f} s for {args.cases} cases", flush=True)
        different = [
            file.name for file in sorted((root / "out_stock").glob("*.nii.gz")) if not _same(file, root / "out_ours")
        ]
    ratio = statistics.median(one / other for one, other in zip(seconds["ours"], seconds["stock"], strict=True))
    print(f"ours / stock: {ratio:.3f} (at most {LARGEST_RATIO}); {len(different)} predictions differ")
    return int(ratio > LARGEST_RATIO or bool(different))


def _folders(root: Path) -> dict[str, str]:
    return {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}


def _same(file: Path, folder: Path) -> bool:
    one, other = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (file, folder / file.name))
    return bool(np.array_equal(one, other))


if __name__ == "__main__":
    sys.exit(main())
