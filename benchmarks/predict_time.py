"""Time ``nnunet_missingmod predict`` against ``nnUNetv2_predict`` on a folder of cases, with a small network.

    python benchmarks/predict_time.py [--cases 24] [--rounds 1] [--device cpu] [--disable_tta]
    python benchmarks/predict_time.py --cases 1 --size 512 512 400 --modalities 1 [--disable_tta]

Cases have the size of BraTS's, 240 x 240 x 155, a head of 140 x 170 x 137 in them, and all four modalities; patches
are 128 x 128 x 128. The network is so small that reading, preprocessing and writing take as long as it does. With
``--size`` a case has no background, as a CT, from which nnU-Net crops nothing. Both commands start anew, with the
numbers of threads or processes that they start with by default. Prints the ratio of seconds, starting included, that of
the peaks of memory, and both of each round. Exit code 1 if a limit is exceeded or predictions differ.

Memory is that of a command and of all that it starts, added up ten times a second; what processes share counts once. It
needs Linux.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from measuring import device_name, own_session
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from tiny_model import CONFIGURATION, NAMES, make_plans, write_model
from torch import device as torch_device

from nnunet_missingmod.trainers.nnUNetTrainerModalityDropout import nnUNetTrainerModalityDropout

SIZE, HEAD = (240, 240, 155), (140, 170, 137)
PATCH = (128, 128, 128)
LARGEST_RATIO, LARGEST_RATIO_OF_MEMORY = 1.05, 1.1
SECONDS_BETWEEN = 0.1


class Run(NamedTuple):
    """Seconds of a command and the most memory that it had at a time, in GB."""

    seconds: float
    gigabytes: float


def write_cases(folder: Path, number: int, size: Sequence[int], modalities: int, head: Sequence[int] | None) -> None:
    """Write one case of noise under so many names; with a head, background around it is 0."""
    rng = np.random.default_rng(0)
    shape = tuple(reversed(size))  # SimpleITK's arrays are Z, Y, X
    inside: np.ndarray | bool = True
    if head is not None:
        pairs = zip(shape, reversed(head), strict=True)
        axes = [(np.arange(length) - length / 2) / (side / 2) for length, side in pairs]
        inside = np.add.outer(np.add.outer(axes[0] ** 2, axes[1] ** 2), axes[2] ** 2) < 1
    folder.mkdir()
    for channel in range(modalities):
        image = sitk.GetImageFromArray((rng.normal(400, 100, shape).clip(1) * inside).astype(np.int16))
        first = folder / f"case_000_{channel:04d}.nii.gz"
        sitk.WriteImage(image, str(first), True)
        for case in range(1, number):
            shutil.copy(first, folder / f"case_{case:03d}_{channel:04d}.nii.gz")


def write_models(folder: Path, modalities: int) -> dict[str, Path]:
    """Write the same network as a model of stock nnU-Net's and of ours."""
    names = NAMES[:modalities]
    plans = make_plans(reader="SimpleITKIO", patch=PATCH, names=names)
    plans["configurations"][CONFIGURATION]["spacing"] = [1.0, 1.0, 1.0]
    trainers = {"stock": nnUNetTrainer, "ours": nnUNetTrainerModalityDropout}
    return {
        name: write_model(
            folder / name / f"{trainer.__name__}__nnUNetPlans__{CONFIGURATION}", plans, trainer, names=names
        )
        for name, trainer in trainers.items()
    }


def bytes_of_session(session: int) -> int:
    """Return the memory of all processes of a session; of what several processes share, each has its share."""
    return sum(_bytes_of(process) for process in _processes_of(session))


def _processes_of(session: int) -> Iterator[Path]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # After the program's name, which is in brackets: state, parent, group, session.
            fields = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session:
            yield process


def _bytes_of(process: Path) -> int:
    try:
        lines = (process / "smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:  # it has ended
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@contextmanager
def peak_of_session(session: int) -> Iterator[list[int]]:
    """Yield a list of one number: the most bytes that a session's processes had at a time until the end."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(SECONDS_BETWEEN):
            peak[0] = max(peak[0], bytes_of_session(session))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield peak
    finally:
        ended.set()
        watching.join()


def run(command: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run a command and return what it took.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    began = time.perf_counter()
    environment = {**os.environ, **environment}
    with (
        own_session(command, stdout=subprocess.DEVNULL, env=environment) as process,
        peak_of_session(process.pid) as peak,
    ):
        code = process.wait()
        seconds = time.perf_counter() - began
    if code:
        raise subprocess.CalledProcessError(code, command)
    return Run(seconds, peak[0] / 1e9)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=3, help="voxels of a case along each axis, all of it foreground")
    parser.add_argument("--modalities", type=int, choices=range(1, len(NAMES) + 1), default=len(NAMES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--disable_tta", action="store_true")
    args = parser.parse_args(argv)
    print(device_name(torch_device(args.device)), flush=True)
    with TemporaryDirectory() as name:
        root = Path(name)
        write_cases(root / "in", args.cases, args.size or SIZE, args.modalities, None if args.size else HEAD)
        models = write_models(root, args.modalities)
        programs = {"stock": ["nnUNetv2_predict_from_modelfolder"], "ours": ["nnunet_missingmod", "predict"]}
        runs: dict[str, list[Run]] = {"stock": [], "ours": []}
        for number in range(args.rounds):
            for kind in ("stock", "ours") if number % 2 == 0 else ("ours", "stock"):
                out = root / f"out_{kind}"
                command = [*programs[kind], "-i", str(root / "in"), "-o", str(out), "-m", str(models[kind])]
                command += ["-f", "0", "-device", args.device, *["--disable_tta"] * args.disable_tta]
                shutil.rmtree(out, ignore_errors=True)
                took = run(command, _folders(root))
                runs[kind].append(took)
                print(f"{kind}: {took.seconds:.1f} s, {took.gigabytes:.2f} GB for {args.cases} cases", flush=True)
        different = [
            file.name for file in sorted((root / "out_stock").glob("*.nii.gz")) if not _same(file, root / "out_ours")
        ]
    pairs = list(zip(runs["ours"], runs["stock"], strict=True))
    ratio = statistics.median(ours.seconds / stock.seconds for ours, stock in pairs)
    of_memory = statistics.median(ours.gigabytes / stock.gigabytes for ours, stock in pairs)
    print(
        f"ours / stock: {ratio:.3f} of the time (at most {LARGEST_RATIO}), {of_memory:.3f} of the memory "
        f"(at most {LARGEST_RATIO_OF_MEMORY}); {len(different)} predictions differ"
    )
    return int(ratio > LARGEST_RATIO or of_memory > LARGEST_RATIO_OF_MEMORY or bool(different))


def _folders(root: Path) -> dict[str, str]:
    return {name: str(root / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}


def _same(file: Path, folder: Path) -> bool:
    one, other = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (file, folder / file.name))
    return bool(np.array_equal(one, other))


if __name__ == "__main__":
    sys.exit(main())
