"""Measure how well each modality of the phantoms separates the tumour's regions, voxel by voxel, and what a case costs.

Run from the repository: ``python benchmarks/phantom_contrast.py``. The tables of docs/phantom.md come from it.
The area under the ROC curve (AUC) of one image's intensities between two sets of voxels is taken per case, then
averaged over the cases that have both sets; 0.5 means that the modality does not tell them apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from nnunet_missingmod.demo.contrast import MODALITIES
from nnunet_missingmod.demo.phantom import PhantomCase, generate_case
from nnunet_missingmod.demo.tumour import ED, ET, NCR

TIMED_SIZES = ((40, 48, 40), (56, 56, 56), (64, 64, 64), (80, 96, 80), (96, 96, 96))


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return P(positive > negative) + P(equal) / 2, nan if a set is empty (Mann-Whitney)."""
    if not (positive.size and negative.size):
        return float("nan")
    ranks = rankdata(np.concatenate([positive, negative]))[: positive.size]
    return float((ranks.mean() - (positive.size + 1) / 2) / negative.size)


def region_aucs(case: PhantomCase) -> np.ndarray:
    """Return the AUC of each modality (rows) for WT/brain, ET/brain, ET/ED and TC/ED (columns); brain is untumoured."""
    labels = case.labels
    healthy = (labels == 0) & (case.images["T1"] > 0)
    core = (labels == NCR) | (labels == ET)
    pairs = ((labels > 0, healthy), (labels == ET, healthy), (labels == ET, labels == ED), (core, labels == ED))
    return np.array([[auc(image[a], image[b]) for a, b in pairs] for image in case.images.values()])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Contrast and cost of the phantoms.")
    parser.add_argument("--cases", type=int, default=30, help="cases of the contrast table (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=3, default=(80, 96, 80), help="their size (default: 80 96 80)")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first case (default: %(default)s)")
    parser.add_argument("--timed-cases", type=int, default=8, help="cases timed at each size (default: %(default)s)")
    args = parser.parse_args(argv)
    seeds = range(args.first_seed, args.first_seed + args.cases)
    cases = [generate_case(seed, size=args.size) for seed in seeds]
    aucs = np.array([region_aucs(case) for case in cases])
    mean, spread = np.nanmean(aucs, 0), np.nanstd(aucs, 0)
    print(f"Mean voxel AUC (spread between cases), seeds {seeds[0]} to {seeds[-1]}, size {tuple(args.size)}")
    print("| | WT against brain | ET against brain | ET against ED | TC against ED |\n|---|---|---|---|---|")
    for modality, means, spreads in zip(MODALITIES, mean, spread, strict=True):
        print(f"| {modality} | " + " | ".join(f"{m:.2f} ({s:.2f})" for m, s in zip(means, spreads, strict=True)) + " |")
    counts = np.array([np.bincount(case.labels.ravel(), minlength=4)[1:] for case in cases])
    brain = np.array([(case.images["T1"] > 0).sum() for case in cases])
    shares = counts.sum(1) / brain
    print(f"Whole tumour {shares.mean():.1%} of the brain ({shares.min():.1%} to {shares.max():.1%});", end=" ")
    print(f"{(counts[:, ET - 1] == 0).mean():.0%} of the cases have no ET.")
    print("| size | spacing (mm) | seconds per case | slowest |\n|---|---|---|---|")
    for size in TIMED_SIZES:
        seconds = []
        for seed in range(args.timed_cases):
            start = time.process_time()
            spacing = generate_case(seed, size=size).spacing_mm[0]
            seconds.append(time.process_time() - start)
        print(f"| {' x '.join(map(str, size))} | {spacing:.1f} | {np.mean(seconds):.2f} | {max(seconds):.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
