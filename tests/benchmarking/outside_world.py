"""Four tiny cases of T1 and T2 with references, and predictions of models that are not nnU-Net's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_missingmod.cli import main

CASES = ("a", "b", "c", "d")
SUBSETS = ("T1", "T2", "T1+T2")


@dataclass
class World:
    """Folders of images, references and predictions."""

    root: Path

    def folder(self, name: str) -> Path:
        return self.root / name

    @property
    def arguments(self) -> tuple[str, ...]:
        """Where the cases are, and that everything runs on this machine's CPU."""
        return ("-i", str(self.root / "imagesTs"), "-ref", str(self.root / "labelsTs"), "--device", "cpu")

    def predict(self, model: str, layout: str = "{subset}/{case}.nii.gz", *, shift: int = 1, label: int = 2) -> str:
        """Write predictions: the reference itself with both modalities, else shifted; return NAME=FOLDER."""
        for case in CASES:
            for subset in SUBSETS:
                labels = np.roll(reference(case), 0 if subset == "T1+T2" else shift, axis=0)
                labels = np.where(labels == 2, label, labels)
                write(self.root / model / layout.format(case=case, subset=subset), labels)
        return f"{model}={self.root / model}"


def reference(case: str) -> np.ndarray:
    labels = np.zeros((8, 8, 8), np.uint8)
    size = 2 + CASES.index(case) % 3
    labels[2 : 2 + size, 2:6, 2:6] = 1
    labels[2 : 2 + size, 3:5, 3:5] = 2
    return labels


def write(file: Path, array: np.ndarray, spacing: float = 1.0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing([spacing] * 3)
    sitk.WriteImage(image, str(file))


def make_world(root: Path) -> World:
    """Write images, references and dataset.json."""
    for case in CASES:
        for channel in (0, 1):
            write(root / "imagesTs" / f"{case}_{channel:04d}.nii.gz", reference(case) * 20 + 10)
        write(root / "labelsTs" / f"{case}.nii.gz", reference(case))
    content = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "whole": [1, 2], "core": 2},
        "regions_class_order": [1, 2],
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return World(root)


def two_models(root: Path) -> World:
    """Return a world with predictions of A, which are shifted by one voxel, and of B, by two."""
    world = make_world(root)
    world.predict("A")
    world.predict("B", shift=2)
    return world


def evaluate(world: World, out: Path, *more: object) -> int:
    """Evaluate both models of `two_models`; return the exit code."""
    folders = ("--predictions", *(f"{name}={world.folder(name)}" for name in ("A", "B")))
    return main(["evaluate", *map(str, (*folders, *world.arguments, "-o", out, *more))])


def report(out: Path, *more: object) -> int:
    """Make the report of an evaluation anew; return the exit code."""
    return main(["evaluate", "-o", str(out), "--report", *map(str, more)])
