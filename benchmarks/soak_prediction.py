"""Predict hundreds of cases in one process and see whether its memory grows.

    python benchmarks/soak_prediction.py [--predictions 500] [--every 50] [--largest-growth-mib 8]

A tiny network predicts cases with every subset of modalities in turn, some of them refused, through the code of
``nnunet_missingmod predict`` and, every other time, through ``Predictor.predict``. Prints the resident memory after
every 50 predictions. Exit code 1 if it has grown by more than the limit from the 50th prediction to the last.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from tiny_model import NAMES, make_arrays, write_image, write_tiny_model

from nnunet_missingmod import Predictor
from nnunet_missingmod.cases.files import find_cases
from nnunet_missingmod.inference.batch import predict_cases
from nnunet_missingmod.modalities import all_subsets, subset_name

MIB = 1024**2
BATCH = 10
SHAPE = (40, 48, 44)


def resident_mib() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Memory over many predictions in one process.")
    parser.add_argument("--predictions", type=int, default=500)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--largest-growth-mib", type=float, default=8.0)
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    subsets = all_subsets(len(NAMES))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        predictor = Predictor.from_model_folder(write_tiny_model(root / "model"), device="cpu")
        source = root / "source"
        source.mkdir()
        for channel, array in make_arrays(0, SHAPE).items():
            write_image(source / f"{channel}.nii.gz", array)
        torn = (source / "0.nii.gz").read_bytes()[:5000]
        memory: dict[int, float] = {}
        started = time.perf_counter()
        done = 0
        while done < args.predictions:
            folder = root / f"input-{done}"
            folder.mkdir()
            (root / f"output-{done}").mkdir()
            for index in range(done, done + BATCH):
                subset = subsets[index % len(subsets)]
                if index % 2:
                    files = {NAMES[channel]: source / f"{channel}.nii.gz" for channel in subset}
                    assert predictor.predict(files, probabilities=index % 4 == 1).present == tuple(files)
                    continue
                for channel in subset:
                    (folder / f"case{index}_{channel:04d}.nii.gz").symlink_to(source / f"{channel}.nii.gz")
            (folder / "torn_0000.nii.gz").write_bytes(torn)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                tally = predict_cases(predictor, find_cases(folder, NAMES, ".nii.gz"), root / f"output-{done}")
            assert tally == {"predicted": BATCH // 2, "refused": 1}, tally
            done += BATCH
            if done % args.every == 0:
                gc.collect()
                memory[done] = resident_mib()
                seconds = (time.perf_counter() - started) / done
                print(f"{done:5} predictions: {memory[done]:7.1f} MiB, {seconds:.2f} s each", flush=True)
    first, last = memory[min(memory)], memory[max(memory)]
    print(f"subsets: {subset_name(subsets[0], NAMES)} to {subset_name(subsets[-1], NAMES)}; {last - first:+.1f} MiB")
    return 0 if last - first <= args.largest_growth_mib else 1


if __name__ == "__main__":
    sys.exit(main())
