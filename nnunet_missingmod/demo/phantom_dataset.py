"""Writes an nnU-Net raw dataset of phantoms: complete training cases, and test cases of which most lack modalities."""

from __future__ import annotations

import csv
import json
import logging
import multiprocessing
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from tqdm import tqdm

from nnunet_missingmod.demo.contrast import MODALITIES
from nnunet_missingmod.demo.grid import Grid, resolve_grid
from nnunet_missingmod.demo.phantom import PhantomCase, draw_case
from nnunet_missingmod.modalities import Subset, all_subsets
from nnunet_missingmod.storage import check_output, name_problem, read_json_object, write_text
from nnunet_missingmod.workers import end_with_parent

logger = logging.getLogger(__name__)

FILE_ENDING = ".nii.gz"
# Increase it whenever a seed gives other cases than before, so that a resumed dataset never mixes two generators.
GENERATOR_VERSION = 1
MOST_CASES = 100_000
TRAINING, TEST = 0, 1
IMAGES_TR, LABELS_TR = "imagesTr", "labelsTr"
IMAGES_TS, LABELS_TS, IMAGES_TS_COMPLETE = "imagesTs", "labelsTs", "imagesTs_complete"
FOLDERS = (IMAGES_TR, LABELS_TR, IMAGES_TS, LABELS_TS, IMAGES_TS_COMPLETE)
# Not inside the image folders, because nnU-Net would use an incomplete image there as a case.
PARTIAL = ".partial"
PARAMETERS, PRESENCE = "phantom.json", "imagesTs_presence.csv"

LABELS: dict[str, Any] = {"background": 0, "NCR": 1, "ED": 2, "ET": 3}
# Largest region first; the order paints oedema, then the core, then the enhancing part, which gives the labels back.
REGIONS: dict[str, Any] = {
    "background": 0, "whole_tumor": [1, 2, 3], "tumor_core": [1, 3], "enhancing_tumor": [3],
}  # fmt: skip
REGIONS_CLASS_ORDER = [2, 1, 3]


@dataclass(frozen=True)
class _Task:
    """One case to write: its name, its random stream (seed, split and index), and the channels that imagesTs gets."""

    folder: Path
    case: str
    seed: int
    split: int
    index: int
    grid: Grid
    kept: Subset

    def image(self, folder: str, channel: int) -> Path:
        return self.folder / folder / f"{self.case}_{channel:04d}{FILE_ENDING}"

    def files(self) -> list[Path]:
        labels = LABELS_TR if self.split == TRAINING else LABELS_TS
        images = IMAGES_TR if self.split == TRAINING else IMAGES_TS_COMPLETE
        files = [self.image(images, channel) for channel in range(len(MODALITIES))]
        if self.split == TEST:
            files += [self.image(IMAGES_TS, channel) for channel in self.kept]
        return [*files, self.folder / labels / f"{self.case}{FILE_ENDING}"]


def write_dataset(
    output: Path,
    *,
    dataset_id: int = 501,
    name: str = "Phantom",
    cases: int = 48,
    test_cases: int = 16,
    size: Sequence[int] | None = None,
    spacing_mm: Sequence[float] | float | None = None,
    seed: int = 0,
    jobs: int = 1,
    regions: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the dataset ``output/DatasetXXX_name`` and return its folder.

    ``imagesTr`` and ``labelsTr`` have complete training cases. ``imagesTs`` has test cases, of which most lack
    modalities; ``imagesTs_complete`` has all their files, ``labelsTs`` their labels, ``imagesTs_presence.csv`` the
    modalities of each. ``phantom.json`` records the parameters: a second call with the same ones writes only what is
    missing. ``dataset.json`` is written last, so that nnU-Net never uses an incomplete dataset. Files do not depend on
    ``jobs``.

    Args:
        output: folder of raw datasets, nnU-Net's ``nnUNet_raw``.
        dataset_id: nnU-Net's number of the dataset, 1 to 999.
        name: the dataset's name after the number.
        cases: training cases.
        test_cases: test cases.
        size: brain box (X, Y, Z) in voxels.
        spacing_mm: voxel size in mm, one number or one for each axis; see ``resolve_grid``.
        seed: a case depends on it and on the case's own number only, not on the number of cases.
        jobs: number of processes.
        regions: declare nnU-Net regions (whole tumor, tumor core, enhancing tumor) instead of labels.
        overwrite: delete what an earlier call with other parameters wrote.

    Raises:
        ValueError: a number is out of range, another dataset has the same number, or the folder has a dataset with
            other parameters, or files that this function did not write, or cannot be written to.
    """
    if not 1 <= dataset_id <= 999 or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or name_problem(name):
        raise ValueError(
            f"A dataset has a number from 1 to 999 and a name of letters, digits, _ and -, got {dataset_id}, {name!r}."
        )
    if jobs < 1 or seed < 0:
        raise ValueError(f"A dataset takes at least 1 job and seed 0, got jobs {jobs}, seed {seed}.")
    grid = check_parameters(cases=cases, test_cases=test_cases, size=size, spacing_mm=spacing_mm)
    parameters = {
        "generator_version": GENERATOR_VERSION, "cases": cases, "test_cases": test_cases, "seed": seed,
        "regions": regions, **asdict(grid),
    }  # fmt: skip
    folder = Path(output) / f"Dataset{dataset_id:03d}_{name}"
    check_output(folder)
    _claim(folder, parameters, overwrite=overwrite)
    subsets = modalities_of_test_cases(test_cases, len(MODALITIES), seed=seed)
    tasks = [_Task(folder, f"phantom-train-{i + 1:03d}", seed, TRAINING, i, grid, ()) for i in range(cases)]
    tasks += [_Task(folder, f"phantom-test-{i + 1:03d}", seed, TEST, i, grid, kept) for i, kept in enumerate(subsets)]
    missing = [task for task in tasks if not all(file.is_file() for file in task.files())]
    if len(missing) < len(tasks):
        logger.info("%d of %d cases are already there.", len(tasks) - len(missing), len(tasks))
    start = time.monotonic()
    for _ in tqdm(_run(missing, jobs), total=len(missing), desc="phantoms", unit="case", disable=None):
        pass
    if missing:
        seconds = (time.monotonic() - start) / len(missing)
        logger.info("%d cases written to %s, %.2f s per case with %d job(s).", len(missing), folder, seconds, jobs)
    _write_presence(folder / PRESENCE, tasks[cases:])
    write_text(folder / "dataset.json", json.dumps(_dataset_json(name, cases, regions), indent=2) + "\n")
    (folder / PARTIAL).rmdir()
    return folder


def check_parameters(
    *,
    cases: int,
    test_cases: int,
    size: Sequence[int] | None = None,
    spacing_mm: Sequence[float] | float | None = None,
) -> Grid:
    """Return the grid of a dataset's phantoms; the arguments are those of ``write_dataset``.

    Raises:
        ValueError: a number is out of range, or no phantom is drawn on such a grid.
    """
    if cases < 1 or test_cases < 0 or max(cases, test_cases) > MOST_CASES:
        raise ValueError(
            f"A dataset takes at least 1 training case and 0 test cases, and at most {MOST_CASES} of each, got "
            f"{cases} training and {test_cases} test cases."
        )
    return resolve_grid(size, spacing_mm)


def modalities_of_test_cases(count: int, num_modalities: int, *, seed: int) -> list[Subset]:
    """Return the channels that each of ``count`` test cases keeps.

    The first case is complete, the next ones have one subset of each smaller size, then the remaining subsets follow in
    random order, then all of this repeats. So with at least ``num_modalities`` cases every size occurs, and with at
    least ``2**num_modalities - 1`` every subset. A single case is not complete.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(TEST + 1,)))
    shuffled = all_subsets(num_modalities)
    shuffled = [shuffled[i] for i in rng.permutation(len(shuffled))]
    one_per_size = [next(s for s in shuffled if len(s) == kept) for kept in range(num_modalities, 0, -1)]
    order = one_per_size + [subset for subset in shuffled if subset not in one_per_size]
    if count == 1 and num_modalities > 1:
        return [order[1]]
    return [order[i % len(order)] for i in range(count)]


def _run(tasks: Sequence[_Task], jobs: int) -> Iterator[None]:
    if jobs == 1 or len(tasks) < 2:
        yield from map(_write_case, tasks)
        return
    context = multiprocessing.get_context("spawn")
    workers = min(jobs, len(tasks))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        try:
            yield from pool.map(_write_case, tasks)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_case(task: _Task) -> None:
    stream = np.random.SeedSequence(task.seed, spawn_key=(task.split, task.index))
    case = draw_case(stream, task.grid)
    volumes: list[np.ndarray] = [case.images[modality].astype(np.int16) for modality in MODALITIES]
    volumes += [*(volumes[channel] for channel in task.kept), case.labels]
    for file, volume in zip(task.files(), volumes, strict=True):
        _write_volume(file, volume, case)


def _write_volume(file: Path, volume: np.ndarray, case: PhantomCase) -> None:
    image = SimpleITK.GetImageFromArray(volume.transpose(2, 1, 0))  # SimpleITK takes (Z, Y, X)
    image.SetSpacing(case.spacing_mm)
    partial = file.parents[1] / PARTIAL / f"{file.parent.name}-{file.name}"
    SimpleITK.WriteImage(image, str(partial), useCompression=True)
    partial.replace(file)


def _claim(folder: Path, parameters: dict[str, Any], *, overwrite: bool) -> None:
    """Create the dataset's folders; raise ValueError if the folder has anything else in it."""
    parameters = json.loads(json.dumps(parameters))
    number = folder.name.split("_")[0]
    others = sorted(other.name for other in folder.parent.glob(f"{number}_*") if other.name != folder.name)
    if others:
        raise ValueError(f"{folder.parent} has {others[0]} with the same number: give another -d.")
    record = folder / PARAMETERS
    if any(path.is_file() for path in folder.rglob("*")):
        if not record.is_file():
            raise ValueError(
                f"{folder} holds files that were not written by this command, and they are never overwritten: "
                "give another -d or --name."
            )
        try:
            recorded = read_json_object(record)
        except ValueError as error:
            raise ValueError(f"{record} is not that of phantoms: {error}. Give another -d or --name.") from error
        if recorded != parameters and not overwrite:
            differences = ", ".join(
                f"{key} {recorded.get(key)} there and {parameters.get(key)} asked for"
                for key in sorted(recorded.keys() | parameters.keys())
                if recorded.get(key) != parameters.get(key)
            )
            raise ValueError(
                f"{folder} holds phantoms made with other parameters ({differences}): "
                "repeat those, give another -d, or give --overwrite to delete them."
            )
        if overwrite:
            for path in (folder / "dataset.json", folder / PRESENCE):
                path.unlink(missing_ok=True)
            for child in FOLDERS:
                shutil.rmtree(folder / child, ignore_errors=True)
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    for child in (*FOLDERS, PARTIAL):
        (folder / child).mkdir(parents=True, exist_ok=True)
    write_text(record, json.dumps(parameters, indent=2) + "\n")


def _dataset_json(name: str, cases: int, regions: bool) -> dict[str, Any]:
    return {
        "channel_names": {str(channel): modality for channel, modality in enumerate(MODALITIES)},
        "labels": REGIONS if regions else LABELS,
        **({"regions_class_order": REGIONS_CLASS_ORDER} if regions else {}),
        "numTraining": cases,
        "file_ending": FILE_ENDING,
        "name": name,
        "description": "Synthetic brain-tumour phantoms made by nnunet_missingmod. No patient data; "
        "scores on them say nothing about accuracy on patients.",
        "licence": "Synthetic data; the anatomy derives from the ICBM 152 average brain, (C) 1993-2009 Louis Collins, "
        "McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University.",
    }


def _write_presence(path: Path, tasks: Sequence[_Task]) -> None:
    partial = path.parent / PARTIAL / path.name
    with partial.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["case", *MODALITIES])
        rows.writerows([task.case, *(int(c in task.kept) for c in range(len(MODALITIES)))] for task in tasks)
    partial.replace(path)
