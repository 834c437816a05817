"""Data, plans, splits and scored cases of a study: of phantoms, or of any raw dataset of nnU-Net."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from resampling import resample_all
from settings import PLANS
from study_folder import Data, StudyFolder

from nnunet_missingmod.cases.dataset import find_raw_cases
from nnunet_missingmod.cases.description import read_dataset_json
from nnunet_missingmod.cases.files import CaseFiles
from nnunet_missingmod.demo.contrast import MODALITIES
from nnunet_missingmod.demo.host_commands import Command, program, run_command
from nnunet_missingmod.demo.phantom_dataset import write_dataset
from nnunet_missingmod.evaluation.conventions import brats_regions, dataset_regions, ignore_label
from nnunet_missingmod.modalities import channel_names, compile_pattern, name_patients
from nnunet_missingmod.storage import replaced_when_complete, write_text
from nnunet_missingmod.training.split import parse_split

PHANTOMS = 502
PHANTOM_SIZE = (40, 48, 40)
PHANTOM_REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
WIDTH = 8
BATCH_SIZE = {"2d": 8, "3d_fullres": 2}
# Formats that keep the size of a voxel.
WITH_SPACING = (".nii.gz", ".nii", ".nrrd", ".mha")


@dataclass(frozen=True)
class Case:
    """A case that is trained on or scored: what nnU-Net calls it, its files, its labels."""

    files: CaseFiles
    labels: Path
    split: str  # train or test


def prepare_phantoms(folder: StudyFolder, *, configuration: str, epoch_steps: int) -> None:
    """Make phantoms, plan and preprocess them, and choose the one split."""
    study = folder.study
    folder.claim({"raw": None, "configuration": configuration, "epoch_steps": epoch_steps})
    raw = write_dataset(
        folder.root / "nnUNet_raw",
        dataset_id=PHANTOMS,
        cases=study.cases,
        test_cases=study.test_cases,
        size=PHANTOM_SIZE,
        seed=1,
        jobs=2,
    )
    dataset_json = read_dataset_json(raw)
    names = [case.files.case for case in _cases(raw, dataset_json) if case.split == "train"]
    validation = study.validation_cases(sorted(names))
    split = {"train": [name for name in sorted(names) if name not in validation], "val": validation}
    data = Data(
        dataset=raw.name,
        configuration=configuration,
        runs=study.documented_runs(configuration),
        folds=1,
        modalities=MODALITIES,
        regions=PHANTOM_REGIONS,
        ignore_label=None,
        patients={},
        epoch_steps=epoch_steps,
    )
    _plan(folder, data, dataset_json, [split])
    test = raw / "imagesTs_complete"
    complete = [
        replace(case, files=CaseFiles(case.files.case, _renamed(case.files.case, dataset_json, test)))
        if case.split == "test"
        else case
        for case in _cases(raw, dataset_json)
    ]
    _write_scored(folder, data, dataset_json, complete)
    folder.describe(data)


def _renamed(case: str, dataset_json: Mapping[str, Any], folder: Path) -> dict[int, Path]:
    ending = dataset_json["file_ending"]
    return {channel: folder / f"{case}_{channel:04d}{ending}" for channel in range(len(MODALITIES))}


def prepare_raw(
    folder: StudyFolder,
    raw: Path,
    *,
    configuration: str,
    epoch_steps: int,
    spacing_mm: float | None = None,
    folds: int = 5,
    splits: Path | None = None,
    patients: str | None = None,
) -> None:
    """Plan and preprocess any raw dataset of nnU-Net, whose cases may lack modalities, and choose the folds.

    ``imagesTs`` is scored, too, as ``test``, of every fold's model, as far as ``labelsTs`` has label maps.

    Args:
        raw: the folder DatasetXXX_NAME; nothing is written into it.
        configuration: ``2d`` or ``3d_fullres``.
        epoch_steps: training steps of an epoch.
        spacing_mm: resample everything to voxels at least so large.
        folds: number of splits, by nnU-Net's own rule, over patients if they are given.
        splits: a file as nnU-Net's splits_final.json in their place.
        patients: regular expression whose group is the patient in the name of a case.

    Raises:
        ValueError: the folder is no dataset, this one was prepared otherwise, ``splits`` has a fault (see
            `check_splits`), there are too many or too few ``folds``, files that are to be resampled keep no spacing, a
            patient is trained on and tested, or nnU-Net does not find this package, which cases without all modalities
            need.
    """
    raw = Path(os.path.abspath(raw))
    if not re.fullmatch(r"Dataset[0-9]{3}_.+", raw.name):
        raise ValueError(f"{raw} is no raw dataset: its name is not Dataset, three digits, _ and a name.")
    dataset_json = read_dataset_json(raw)
    if spacing_mm is not None and not dataset_json["file_ending"].lower().endswith(WITH_SPACING):
        raise ValueError(
            f"--spacing resamples {', '.join(WITH_SPACING)}; files of {dataset_json['file_ending']} keep no spacing: "
            "leave it out, or make the pictures smaller before."
        )
    chosen = None if splits is None else _read_splits(splits)
    cases = _cases(raw, dataset_json)
    owners = {} if patients is None else _patients(cases, patients)
    training = sorted(case.files.case for case in cases if case.split == "train")
    if chosen is not None:
        check_splits(chosen, training, owners)
    used = chosen or _folds(training, folds, owners)
    asked = {"configuration": configuration, "epoch_steps": epoch_steps, "spacing": spacing_mm, "patients": patients}
    folder.claim({"raw": str(raw.resolve()), "folds": folds if splits is None else None, "splits": chosen, **asked})
    target = folder.root / "nnUNet_raw" / raw.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if spacing_mm is not None:
        _write_coarser(cases, dataset_json, target, spacing_mm)
        dataset_json = read_dataset_json(target)
        cases = _cases(target, dataset_json)
    elif not target.exists():
        target.symlink_to(raw.resolve(), target_is_directory=True)
    data = Data(
        dataset=raw.name,
        configuration=configuration,
        runs=None,
        folds=len(used),
        modalities=channel_names(dataset_json),
        regions=brats_regions(dataset_json) or dataset_regions(dataset_json),
        ignore_label=ignore_label(dataset_json),
        patients=owners,
        epoch_steps=epoch_steps,
    )
    complete = all(len(case.files.files) == len(data.modalities) for case in cases if case.split == "train")
    _plan(folder, data, dataset_json, used, complete=complete)
    _write_scored(folder, data, dataset_json, cases)
    folder.describe(data)


def check_splits(splits: Sequence[dict[str, list[str]]], cases: Sequence[str], patients: Mapping[str, str]) -> None:
    """Check folds that were given.

    Args:
        cases: that may be trained on.
        patients: the patient of each, as far as they are known.

    Raises:
        ValueError: there is no fold, one trains on or validates no case or one that is not there, or has a case or a
            patient on both sides.
    """
    from nnunet_missingmod.planning.splitting import faults_of_folds

    faults = [] if splits else ["There is no fold."]
    for number, fold in enumerate(splits):
        for kind, verb in (("train", "trains on"), ("val", "validates")):
            unknown = sorted(set(fold[kind]) - set(cases))
            if unknown:
                faults.append(f"Fold {number} {verb} cases that the dataset has not: {', '.join(unknown[:5])}.")
            if not fold[kind]:
                faults.append(f"Fold {number} {verb} no case.")
    # What modalities a fold lacks is no fault here: a model is scored on what its cases can give.
    faults += faults_of_folds(splits, {}, (), patients=patients)
    if faults:
        raise ValueError(f"--splits: {' '.join(faults)}")


def _patients(cases: list[Case], pattern: str) -> dict[str, str]:
    """Return the patient of each case that is trained on or scored.

    Raises:
        ValueError: the pattern does not match a case, or a patient is trained on and tested.
    """
    owners = dict(name_patients((case.files.case for case in cases), compile_pattern(pattern)))
    trained, tested = (
        {owners[case.files.case] for case in cases if case.split == split} for split in ("train", "test")
    )
    if both := sorted(trained & tested):
        raise ValueError(
            f"Patients have cases in imagesTr and in imagesTs: {', '.join(both[:5])}. A test of them would be of cases "
            "that are known; move them to one side, or mend --patients."
        )
    return owners


def _cases(raw: Path, dataset_json: dict[str, Any]) -> list[Case]:
    """Return training cases, and those test cases that have labels.

    Raises:
        ValueError: a case's files are not as they should be.
    """
    found, labels = find_raw_cases(raw, dataset_json)
    for _, case in found:
        if case.problems:
            raise ValueError(f"{raw}, case {case.case}: {' '.join(case.problems)}")
    splits = {"Tr": "train", "Ts": "test"}
    return [
        Case(case, labels[split, case.case], splits[split]) for split, case in found if (split, case.case) in labels
    ]


def _read_splits(file: Path) -> list[dict[str, list[str]]]:
    """Return the folds of a file as nnU-Net's splits_final.json.

    Raises:
        ValueError: it is of another form.
    """
    form = '[{"train": ["CASE", ...], "val": ["CASE", ...]}, ...], a pair for each fold'
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, list):
            raise TypeError("it is no list")
        return [parse_split(each).as_json() for each in content]
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"--splits: {file} is to hold {form}: {error}") from error


def _folds(cases: list[str], folds: int, patients: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """Return nnU-Net's own split, of patients where they are known.

    Raises:
        ValueError: there are fewer than two folds, or fewer patients than folds.
    """
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    owner = {case: patients.get(case, case) for case in cases}
    number = len(set(owner.values()))
    if not 2 <= folds <= number:
        raise ValueError(
            f"--folds {folds}: nnU-Net's rule makes 2 folds or more, and at most as many as there are patients or "
            f"cases to train on, {number}. One split of your own is given by --splits."
        )
    split = generate_crossval_split(sorted(set(owner.values())), seed=12345, n_splits=folds)
    return [
        {kind: [case for case in cases if owner[case] in set(part[kind])] for kind in ("train", "val")}
        for part in split
    ]


def _write_coarser(cases: list[Case], dataset_json: dict[str, Any], target: Path, spacing_mm: float) -> None:
    ending = dataset_json["file_ending"]
    images, labels = [], []
    for case in cases:
        suffix, name = ("Tr" if case.split == "train" else "Ts"), case.files.case
        for channel, file in case.files.files.items():
            images.append((file, target / f"images{suffix}" / f"{name}_{channel:04d}{ending}"))
        labels.append((case.labels, target / f"labels{suffix}" / f"{name}{ending}"))
    for _, file in (*images, *labels):
        file.parent.mkdir(parents=True, exist_ok=True)
    resample_all(images, labels, spacing_mm=spacing_mm)
    listed = {key: value for key, value in dataset_json.items() if key != "dataset"}
    write_text(target / "dataset.json", json.dumps(listed, indent=2))


def _plan(
    folder: StudyFolder,
    data: Data,
    dataset_json: dict[str, Any],
    splits: list[dict[str, list[str]]],
    *,
    complete: bool = True,
) -> None:
    """Run nnU-Net's planner and preprocessor, and write the study's plans: narrow networks, its batch size."""
    number, configuration = str(int(data.dataset[7:10])), data.configuration
    arguments = ["-d", number, "-c", configuration, "-np", "2", "-npfp", "2"]
    folder.set_environment(folder.root / "results")
    del os.environ["nnUNet_n_proc_DA"]  # noqa: SIM112  the planner fails on 0
    preprocessed = folder.root / "nnUNet_preprocessed" / data.dataset
    if not (preprocessed / f"{PLANS}.json").exists():
        shutil.rmtree(preprocessed, ignore_errors=True)
        log = folder.root / "plan_and_preprocess.txt"
        planner = ["nnUNetv2_plan_and_preprocess"] if complete else ["nnunet_missingmod", "plan"]
        argv = [program(planner[0]), *planner[1:], *arguments]
        run_command(Command("preprocess", argv, log, r"\d+/\d+", dataset_json["numTraining"]), {})
        plans = folder.json(preprocessed / "nnUNetPlans.json")
        plans["plans_name"] = PLANS
        chosen = plans["configurations"][configuration]
        architecture = chosen["architecture"]["arch_kwargs"]
        architecture["features_per_stage"] = [WIDTH * 2**stage for stage in range(architecture["n_stages"])]
        chosen["batch_size"] = BATCH_SIZE[configuration]
        write_text(preprocessed / f"{PLANS}.json", json.dumps(plans, indent=2))
    write_text(preprocessed / "splits_final.json", json.dumps(splits))


def _write_scored(folder: StudyFolder, data: Data, dataset_json: dict[str, Any], cases: Iterable[Case]) -> None:
    """Preprocess each case as prediction does, with what it has, once for all models."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor

    manager = PlansManager(folder.json(folder.root / "nnUNet_preprocessed" / data.dataset / f"{PLANS}.json"))
    folder.scored.mkdir(exist_ok=True)
    for case in cases:
        target = folder.scored / f"{case.files.case}.{case.split}.npz"
        if target.exists():
            continue
        image, labels, _ = MissingModPreprocessor(verbose=False).run_assigned_case(
            case.files.files,
            str(case.labels),
            manager,
            manager.get_configuration(data.configuration),
            dataset_json,
            case=case.files.case,
        )
        with replaced_when_complete(target) as temporary:
            # Cropping marks what lies outside of the brain with -1.
            np.savez_compressed(temporary, image=image, labels=np.maximum(labels[0], 0))
