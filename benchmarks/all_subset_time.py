"""Time all 15 subsets of four modalities at once, against 15 separate predictions and against one with all modalities.

    python benchmarks/all_subset_time.py [--threads N] [--rounds N] [--device cpu] [--mirror] [--network NAME ...]

Everything is timed that a prediction does: reading the files, preprocessing, sliding window, export. A round times all
subsets at once and then each subset from its own files, by the same model in the same process; one of those, the
full case, is the single prediction. Ratios are medians over rounds, with the smallest and largest in brackets. Weights
are random and images noise, which costs what trained weights and patients of that size cost.

On a CPU there are 2 threads and 3 rounds by default, and the exit code is 1 if a limit is exceeded that three machines
kept: at least 4.5 times faster than separate predictions for fusion at logits and 2.2 times at features, and at most 2
and 4.5 times the time of one full prediction. On a GPU, where cases are larger, reading, preprocessing and export,
which the CPU does, are most of the time, so that no limit is checked; by default there are as many threads as cores,
one round, and one network of each kind.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from measuring import exit_code
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from tiny_model import CONFIGURATION, NAMES, make_arrays, make_plans, write_image
from tiny_model import write_model as write_model_folder

from nnunet_missingmod.benchmarking.preparation import prepare_case
from nnunet_missingmod.inference.all_subsets import SubsetPredictor
from nnunet_missingmod.inference.model_folder import ModelFolder, load_predictor, open_model_folder
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor
from nnunet_missingmod.training.checkpoints import find_trainer

SUBSETS = all_subsets(len(NAMES))


class Size(NamedTuple):
    """Voxels of a case and of a patch, and features per stage."""

    case: tuple[int, int, int]
    patch: tuple[int, int, int]
    features: tuple[int, ...]


class Kind(NamedTuple):
    """A network: its trainer, the choices that differ from the trainer's, its backbone, and the least speed-up."""

    trainer: str
    choices: dict[str, Any]
    residual: bool
    least_speedup: float | None = None
    most_of_full: float | None = None


SIZES = {
    "cpu": Size((56, 64, 84), (56, 64, 56), (16, 32, 64, 128)),
    "cuda": Size((144, 176, 144), (128, 128, 128), (32, 64, 128, 256, 320, 320)),
}
THREADS = {"cpu": 2, "cuda": os.cpu_count() or 1}
ROUNDS = {"cpu": 3, "cuda": 1}
KINDS = {
    "stock": Kind("nnUNetTrainer", {}, residual=False),
    "early": Kind("nnUNetTrainerMedMAP", {}, residual=False),
    "logits": Kind("nnUNetTrainerRDL", {}, False, 4.5, 2.0),
    "features": Kind("nnUNetTrainerSharedBackbone", {"fused_at": "features"}, False, 2.2, 4.5),
    "features-residual": Kind("nnUNetTrainerSharedBackbone", {"fused_at": "features"}, True, 2.2, 4.5),
    "slim": Kind("nnUNetTrainerM3FeCon", {}, residual=False),
    "attention": Kind("nnUNetTrainerSharedBackbone", {"fused_at": "features", "feature_fusion": "attention"}, False),
}
NETWORKS = {"cpu": tuple(KINDS), "cuda": ("early", "logits", "features", "slim")}


def write_model(folder: Path, kind: Kind, size: Size) -> ModelFolder:
    """Write the folder of a model with random weights, and open it."""
    plans = make_plans(reader="SimpleITKIO", patch=size.patch)
    stages = len(size.features)
    configuration = plans["configurations"][CONFIGURATION]
    configuration["missingmod"] = kind.choices
    architecture = configuration["architecture"]
    arguments = architecture["arch_kwargs"]
    blocks = arguments.pop("n_conv_per_stage")
    # nnU-Net's defaults: two convolutions per stage, or those of the residual encoder presets.
    blocks, decoder = ([1, 3, 4, 6, 6, 6], [1] * 5) if kind.residual else ([2] * 6, [2] * 5)
    arguments |= {
        "n_stages": stages,
        "features_per_stage": list(size.features),
        "kernel_sizes": [[3] * 3] * stages,
        "strides": [[1] * 3] + [[2] * 3] * (stages - 1),
        "n_blocks_per_stage" if kind.residual else "n_conv_per_stage": blocks[:stages],
        "n_conv_per_stage_decoder": decoder[: stages - 1],
    }
    if kind.residual:
        name = architecture["network_class_name"].rpartition(".")[0]
        architecture["network_class_name"] = f"{name}.ResidualEncoderUNet"
    return open_model_folder(write_model_folder(folder, plans, find_trainer(kind.trainer), mirroring_axes=(0, 1, 2)))


def export(model: ModelFolder, logits: torch.Tensor, properties: dict[str, Any], target: Path) -> None:
    export_prediction_from_logits(
        logits.numpy(),
        properties,
        model.configuration_manager,
        model.plans_manager,
        model.dataset_json,
        str(target),
        num_threads_torch=torch.get_num_threads(),
    )


def predict_all(model: ModelFolder, predictor: SubsetPredictor, files: dict[int, Path], folder: Path) -> None:
    for group in prepare_case(model, "case", files, SUBSETS).groups:
        data = torch.from_numpy(group.data(len(NAMES)))
        for subset, logits in predictor.predict_logits_of_subsets(data, group.subsets):
            export(model, logits, group.properties, folder / f"all_{subset}")


def predict_one(
    model: ModelFolder, predictor: nnUNetPredictor, files: dict[int, Path], subset: tuple[int, ...], folder: Path
) -> None:
    data, _, properties = MissingModPreprocessor(verbose=False).run_case(
        [str(files[channel]) for channel in subset],
        None,
        model.plans_manager,
        model.configuration_manager,
        model.dataset_json,
    )
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    export(model, logits, properties, folder / f"one_{subset}")


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start  # what was predicted is on the disk: nothing is left to wait for


def measure(
    model: ModelFolder, files: dict[int, Path], folder: Path, *, rounds: int, device: torch.device, mirror: bool
) -> list[tuple[float, float, float]]:
    """Return, per round, the seconds of all subsets at once, of all one by one, and of the full case."""
    at_once = load_predictor(model, device=device, kind=SubsetPredictor, use_mirroring=mirror)
    one_by_one = load_predictor(model, device=device, kind=nnUNetPredictor, use_mirroring=mirror)
    predict_all(model, at_once, files, folder)  # the first run of each allocates
    predict_one(model, one_by_one, files, SUBSETS[-1], folder)
    measured = []
    for _ in range(rounds):
        together = seconds(lambda: predict_all(model, at_once, files, folder))
        each = [seconds(lambda s=subset: predict_one(model, one_by_one, files, s, folder)) for subset in SUBSETS]  # type: ignore[misc]
        measured.append((together, sum(each), each[-1]))
    return measured


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="by default 2, with a GPU as many as cores")
    parser.add_argument("--rounds", type=int, help="by default 3, on a GPU 1")
    parser.add_argument("--device", choices=tuple(SIZES), default="cpu")
    parser.add_argument(
        "--mirror", action="store_true", help="average over mirrored patches, as nnU-Net does by default"
    )
    parser.add_argument("--network", nargs="+", choices=tuple(KINDS))
    args = parser.parse_args()
    device = torch.device(args.device)
    rounds = args.rounds or ROUNDS[args.device]
    torch.set_num_threads(args.threads or THREADS[args.device])
    size = SIZES[args.device]
    threads, mirroring = torch.get_num_threads(), "on" if args.mirror else "off"
    print(f"case {size.case}, patch {size.patch}, features {size.features}, {args.device}, {threads} threads,")
    print(f"{rounds} rounds, mirroring {mirroring}; median (smallest-largest)\n")
    print("| network | s, one by one | s, at once | s, full case | one by one / at once | at once / full case |")
    print("| --- | --: | --: | --: | --: | --: |")
    missed = []
    for name in args.network or NETWORKS[args.device]:
        kind = KINDS[name]
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            files = {channel: folder / f"case_{channel:04d}.nii.gz" for channel in range(len(NAMES))}
            for channel, array in make_arrays(0, size.case).items():
                write_image(files[channel], array)
            measured = measure(
                write_model(folder / "model", kind, size),
                files,
                folder,
                rounds=rounds,
                device=device,
                mirror=args.mirror,
            )
        together, each, full = map(list, zip(*measured, strict=True))
        speedup = [one / all_ for all_, one, _ in measured]
        of_full = [all_ / one for all_, _, one in measured]
        cells = (name, *map(spread, (each, together, full, speedup, of_full)))
        print(f"| {' | '.join(cells)} |", flush=True)
        if kind.least_speedup is not None and statistics.median(speedup) < kind.least_speedup:
            missed.append(f"{name}: {statistics.median(speedup):.2f} times faster, {kind.least_speedup} is the limit")
        if kind.most_of_full is not None and statistics.median(of_full) > kind.most_of_full:
            missed.append(f"{name}: {statistics.median(of_full):.2f} of a full case, {kind.most_of_full} is the limit")
    if device.type != "cuda":
        print("\n" + ("\n".join(["exceeded:", *missed]) if missed else "all limits kept"))
    return exit_code(not missed, device)


if __name__ == "__main__":
    sys.exit(main())
