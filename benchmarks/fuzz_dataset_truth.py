"""A tiny raw dataset with its splits, written in any of nnU-Net's formats, and what is true of it.

A change (``fuzz_descriptions``, ``fuzz_references``, ``fuzz_splits``) alters files and notes in the ``DatasetTruth``
what must come of it. Nothing here looks at what the package under test makes of it; labels, scores and names are worked
out by the scripts themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import tifffile
from skimage import io as pictures
from tiny_model import CONFIGURATION, ODD_NAMES, ORIGIN_MM, SPACING_MM, Array

Words = tuple[str, ...]
"""What a message must hold, all of it."""

DATASET = "Dataset901_Tiny"
BOTH = ("inspect", "evaluate")
CASE_NAMES = (*ODD_NAMES, "a+b=c", "$x", "CASE", "x" * 120)
FORMATS = (
    ("SimpleITKIO", ".nii.gz"),
    ("SimpleITKIO", ".nrrd"),
    ("SimpleITKIO", ".mha"),
    ("NibabelIO", ".nii.gz"),
    ("NibabelIO", ".nii"),
    ("NibabelIOWithReorient", ".nii.gz"),
    ("Tiff3DIO", ".tif"),
    ("Tiff3DIO", ".tiff"),
    ("NaturalImage2DIO", ".png"),
    ("NaturalImage2DIO", ".bmp"),
)
CHANNELS: tuple[str, ...] = (
    "FLAIR",
    "T1",
    "t1",
    "T1+C",
    "a=b",
    "\\",
    "a\\+b",
    "2",
    "all",
    "ALL",
    "full",
    "alone",
    "random:3",
    "ß",
)
CHANNELS += ("T1 w", " T1", "-x", "+", "/", "..", "CON", "x" * 150, "MR", "MR", "MR_0", "", " ", "日本", "'q'", "$x$")
CHANNELS += ("tab\there", "line\nbreak", "A/B", "T1,T2", '"quoted"', "0000", "leave-one-out", "é", "e\u0301", "CT")
CHANNELS += ("ss", "%", "\\all", "T1ce  ", "\u200b")
CHANNELS += ("T2", "T1ce", "noNorm", "zscore", "rescale_to_0_1", "none", "_", "*", "\u0662", "channel_1", "--subsets")
LABELS: tuple[dict[str, Any], ...] = (
    {"background": 0, "tumour": 1},
    {"background": 0, "NCR": 1, "ED": 2, "ET": 3},
    {"background": 0, "a=b": 1, "T+": 2, "日本": 3},
    {"background": 0, "x": 1, "y": 2, "ignore": 3},
    {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ET": 3},
    {"b": 2, "background": 0, "a,\\n": 1},
)
BRATS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


@dataclass
class DatasetTruth:
    """What is known of a dataset.

    Attributes:
        root: holds the folders of raw images, preprocessed ones and results.
        reader, ending: of nnU-Net, and of its files.
        content: of dataset.json.
        arrays: {case: {channel: voxels}} of what each case has.
        references: {case: label map}, as it must be scored.
        folds: {fold: validation cases} of the model's folds.
        refused: what `inspect` or `evaluate` must refuse, [(command, words)].
        problems: what `inspect` must name, [(case or None, words)].
        failures: {case: words} of cases that `evaluate` must leave out.
        values: {case: words} of cases whose evaluation ends everything before its start.
        may: {command, case or "": a refusal is right, and so is none}.
        label_map: given to `evaluate`.
        done: the changes, for the tally.
    """

    root: Path
    reader: str
    ending: str
    content: dict[str, Any]
    arrays: dict[str, dict[int, Array]]
    references: dict[str, Array]
    folds: dict[int, list[str]]
    refused: list[tuple[str, Words]] = field(default_factory=list)
    problems: list[tuple[str | None, Words]] = field(default_factory=list)
    failures: dict[str, Words] = field(default_factory=dict)
    values: dict[str, Words] = field(default_factory=dict)
    may: set[str] = field(default_factory=set)
    label_map: dict[int, int] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: dict[str, Any] = field(default_factory=dict)

    @property
    def raw(self) -> Path:
        return self.root / "raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed" / DATASET

    @property
    def model(self) -> Path:
        return self.root / "results" / DATASET / f"nnUNetTrainerModalityDropout__nnUNetPlans__{self.configuration}"

    @property
    def configuration(self) -> str:
        return "2d" if self.is_flat else CONFIGURATION

    @property
    def is_flat(self) -> bool:
        return self.reader == "NaturalImage2DIO"

    @property
    def has_header(self) -> bool:
        return self.reader not in ("NaturalImage2DIO", "Tiff3DIO")

    @property
    def numbers(self) -> list[int]:
        """The labels of a label map, without the one that is ignored."""
        own = [value for name, value in self.labels.items() if name != "ignore"]
        return sorted({number for value in own for number in (value if isinstance(value, list) else [value])})

    @property
    def regions(self) -> dict[str, tuple[int, ...]]:
        if list(self.labels) == ["background", "NCR", "ED", "ET"]:
            return BRATS
        named = {name: value for name, value in self.labels.items() if name not in ("background", "ignore")}
        return {name: tuple(value) if isinstance(value, list) else (value,) for name, value in named.items()}

    def image(self, case: str, channel: int) -> Path:
        return self.raw / "imagesTr" / f"{case}_{channel:04d}{self.ending}"

    def label(self, case: str) -> Path:
        return self.raw / "labelsTr" / f"{case}{self.ending}"

    def write_content(self, text: str | None = None) -> None:
        """Write dataset.json of the raw dataset."""
        (self.raw / "dataset.json").write_text(json.dumps(self.content) if text is None else text, encoding="utf-8")


def write_array(
    truth: DatasetTruth, file: Path, array: Array, *, shift: float = 0.0, stretch: float = 1.0, flip: bool = False
) -> None:
    """Write voxels (Z, Y, X) as the dataset's reader reads them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if truth.is_flat:
        pictures.imsave(file, array[0], check_contrast=False)
    elif truth.reader == "Tiff3DIO":
        tifffile.imwrite(file, array)
    else:
        image = sitk.GetImageFromArray(array, isVector=False)
        image.SetSpacing((SPACING_MM[0] * stretch, *SPACING_MM[1:]))
        image.SetOrigin((ORIGIN_MM[0] + shift, *ORIGIN_MM[1:]))
        if flip:
            image.SetDirection((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
        sitk.WriteImage(image, str(file), file.name.endswith("gz"))


def write_spacing(folder: Path, case: str, spacing: Sequence[float] = SPACING_MM[::-1]) -> None:
    """Write the file beside a TIFF that holds its spacing."""
    (folder / f"{case}.json").write_text(json.dumps({"spacing": list(spacing)}))


def make_dataset(root: Path, rng: np.random.Generator, *, modalities: int | None = None) -> DatasetTruth:
    """Write a clean dataset of four cases, in which any but one modality of a case may be absent."""
    reader, ending = FORMATS[int(rng.integers(0, len(FORMATS)))]
    number = int(rng.integers(1, 7)) if modalities is None else modalities
    written = [CHANNELS[index] for index in rng.permutation(len(CHANNELS))[:number].tolist()]
    if number > 1 and rng.random() < 0.2:
        written[1] = written[0]
    labels = LABELS[int(rng.integers(0, len(LABELS)))]
    content: dict[str, Any] = {
        "channel_names": {str(channel): name for channel, name in enumerate(written)},
        "labels": labels,
        "numTraining": 4,
        "file_ending": ending,
    }
    if "whole" in labels:
        content["regions_class_order"] = [1, 2, 3]
    if reader != "SimpleITKIO" or rng.random() < 0.5:
        content["overwrite_image_reader_writer"] = reader
    first = int(rng.integers(0, len(CASE_NAMES)))
    cases = [f"{CASE_NAMES[(first + index) % len(CASE_NAMES)]}{index}" for index in range(4)]
    truth = DatasetTruth(root, reader, ending, content, {}, {}, {0: cases[:2]})
    truth.written, truth.names, truth.labels = written, tell_apart(written), labels
    for case in cases:
        size = [int(length) for length in rng.integers(8, 17, 3)]
        shape = (1, *size[1:]) if truth.is_flat else tuple(size)
        kept = sorted(rng.permutation(number)[: int(rng.integers(1, number + 1))].tolist())
        truth.arrays[case] = {channel: make_voxels(truth, shape, rng) for channel in kept}
        held = [*truth.numbers, *([labels["ignore"]] if "ignore" in labels else [])]
        truth.references[case] = rng.choice(held, shape).astype(np.uint8)
        for channel, array in truth.arrays[case].items():
            write_array(truth, truth.image(case, channel), array)
        write_array(truth, truth.label(case), truth.references[case])
        if reader == "Tiff3DIO":
            write_spacing(truth.raw / "imagesTr", case)
            if rng.random() < 0.7:
                write_spacing(truth.raw / "labelsTr", case)
            else:  # nnU-Net takes it for 1 mm, which its --verify_dataset_integrity refuses
                truth.may.add(case)
    truth.write_content()
    if rng.random() < 0.5:
        truth.folds[1] = cases[2:]
    truth.preprocessed.mkdir(parents=True)
    write_splits(truth)
    return truth


def make_voxels(truth: DatasetTruth, shape: Sequence[int], rng: np.random.Generator) -> Array:
    """Return voxels that are nowhere zero, so that nothing is cropped."""
    if truth.is_flat:
        return rng.integers(1, 255, shape).astype(np.uint8)
    return rng.uniform(1, 100, shape).astype(np.float32)


def tell_apart(written: Sequence[str]) -> list[str]:
    """Return the names of channels as the documentation has them: of one name by number, of none as channel_N."""
    names = [name if name.strip() else f"channel_{channel}" for channel, name in enumerate(written)]
    while len(set(names)) < len(names):
        names = [f"{name}_{channel}" if names.count(name) > 1 else name for channel, name in enumerate(names)]
    return names


def splits_of(truth: DatasetTruth) -> list[dict[str, list[str]]]:
    """Return what splits_final.json holds: two folds, of two validation cases each."""
    cases = list(truth.arrays)
    return [{"train": cases[2:], "val": cases[:2]}, {"train": cases[:2], "val": cases[2:]}]


def write_splits(truth: DatasetTruth, content: Any = None) -> None:
    """Write splits_final.json."""
    file = truth.preprocessed / "splits_final.json"
    file.write_text(json.dumps(splits_of(truth) if content is None else content), encoding="utf-8")


def pick(rng: np.random.Generator, choices: list[Any]) -> Any:
    """Return one of the choices."""
    return choices[int(rng.integers(0, len(choices)))]


def refuse(truth: DatasetTruth, *words: str, commands: tuple[str, ...] = BOTH) -> bool:
    """Note that commands must refuse the dataset with these words."""
    truth.refused += [(command, words) for command in commands]
    return True


def spoil_case(truth: DatasetTruth, case: str, *words: str) -> bool:
    """Note that a case must be left out with these words."""
    truth.problems.append((case, words))
    truth.failures[case] = words
    return True


def untouched(truth: DatasetTruth, rng: np.random.Generator) -> str | None:
    """Return a case to change that no other change has touched."""
    spoilt = {case for case, _ in truth.problems} | truth.failures.keys() | truth.values.keys() | truth.may
    free = [case for case in truth.arrays if case not in spoilt and case not in truth.done]
    return pick(rng, free) if free else None


# Changes files and notes what must come of it, or returns False if it does not apply; then nothing has changed.
Change = Callable[[DatasetTruth, np.random.Generator], bool]
