"""Dice of a study's models on every subset of what each case has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from score_files import Rows
from study_folder import StudyFolder, Training

from nnunet_missingmod.evaluation.metrics import region_dice
from nnunet_missingmod.modalities import Subset, subset_name

# Slices of one forward pass.
_SLICES = 20


def cases_of(folder: StudyFolder, fold: int, split: str, most: int | None = None) -> list[Path]:
    """Return the files of the cases of a split: ``train``, ``val`` or ``test``; at most so many, evenly chosen."""
    if split == "test":
        files = sorted(folder.scored.glob("[!.]*.test.npz"))
    else:
        files = [folder.scored / f"{case}.train.npz" for case in folder.splits()[fold][split]]
    return files if most is None or len(files) <= most else files[:: len(files) // most][:most]


def score(folder: StudyFolder, trainer: Any, training: Training, files: Sequence[Path], split: str) -> Rows:
    """Return rows (split, case, subset, num_present, region, dice) of cases, each for the subsets it can give."""
    data, arm = folder.data, folder.study.arm(training.arm)
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    rows: Rows = []
    for file in files:
        content = np.load(file)
        image, case = content["image"], file.name.rsplit(".", 2)[0]
        has = {channel for channel, values in enumerate(image) if not np.isnan(values).all()}
        for subset in [arm.dedicated_to] if arm.dedicated_to else data.subsets:
            if not has.issuperset(subset):
                continue
            labels = predict(trainer, image, subset)
            dice = region_dice(labels, content["labels"], data.regions, ignore_label=data.ignore_label)
            named = subset_name(subset, data.modalities)
            rows += [(split, case, named, len(subset), region, round(value, 5)) for region, value in dice.items()]
    return rows


@torch.inference_mode()
def predict(trainer: Any, image: np.ndarray, subset: Subset) -> np.ndarray:
    """Return the label map (X, Y, Z) of one case (J, X, Y, Z), of which a network is shown the subset's channels.

    A case whose slices (in 2D) or whose volume is within one patch takes one window; of others nnU-Net's predictor
    slides windows, without mirroring.
    """
    shown = torch.from_numpy(image).clone()
    absent = [channel for channel in range(len(shown)) if channel not in subset]
    shown[absent] = torch.nan
    patch = tuple(trainer.configuration_manager.patch_size)
    within = all(size <= length for size, length in zip(shown.shape[-len(patch) :], patch, strict=True))
    logits = _one_window(trainer.network, shown, patch) if within else _sliding_window(trainer, shown)
    labels: np.ndarray = trainer.label_manager.convert_logits_to_segmentation(logits.float()).numpy()
    return labels


def _one_window(network: torch.nn.Module, shown: torch.Tensor, patch: tuple[int, ...]) -> torch.Tensor:
    """Return logits (C, X, Y, Z): windows of slices (X, J, Y, Z), or of the one volume (1, J, X, Y, Z)."""
    windows = shown.movedim(1, 0) if len(patch) == 2 else shown[None]
    margins = [length - size for length, size in zip(patch, windows.shape[2:], strict=True)]
    padding = [side for margin in reversed(margins) for side in (margin // 2, margin - margin // 2)]
    # Zeros around a NaN channel leave it absent, as nnU-Net's own padding does.
    padded = torch.nn.functional.pad(windows, padding)
    logits = torch.cat([network(chunk) for chunk in padded.split(_SLICES)])
    for axis, (margin, size) in enumerate(zip(margins, windows.shape[2:], strict=True), start=2):
        logits = logits.narrow(axis, margin // 2, size)
    return logits.movedim(0, 1) if len(patch) == 2 else logits[0]


def _sliding_window(trainer: Any, shown: torch.Tensor) -> torch.Tensor:
    # After the trainer's environment has been set.
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        None,
    )
    logits: torch.Tensor = predictor.predict_sliding_window_return_logits(shown)
    return logits
