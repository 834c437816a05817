"""Finds a teacher's model folder, and checks that it has the student's data, plans, configuration and fold.

It reads paths and JSON only; ``teacher`` loads the network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_missingmod.choices import CONVENTIONAL_TEACHER, PRETRAINERS

ENVIRONMENT_VARIABLE = "nnUNet_missingmod_teacher"

# The fields that determine a network's input values and its number of outputs. These must be equal. The names of the
# plans and of the folder of preprocessed data, the batch size and the "missingmod" block may differ.
_CONFIGURATION_FIELDS = (
    "spacing",
    "patch_size",
    "normalization_schemes",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_data_kwargs",
    "architecture",
    "previous_stage",
)
_PLANS_FIELDS = ("transpose_forward", "foreground_intensity_properties_per_channel", "label_manager")
_DATASET_FIELDS = ("channel_names", "labels", "regions_class_order")


class TeacherError(ValueError):
    """There is no teacher, or it does not fit this student; the message says what to do."""


@dataclass(frozen=True)
class Student:
    """The training that needs a teacher.

    Attributes:
        results_folder: nnU-Net's ``nnUNet_results``.
        plans, dataset_json: as nnU-Net reads them.
        configuration: its name.
        resolved_configuration: the configuration with all that it inherits.
        fold: number or ``"all"``.
    """

    results_folder: Path
    plans: Mapping[str, Any]
    dataset_json: Mapping[str, Any]
    configuration: str
    resolved_configuration: Mapping[str, Any]
    fold: int | str

    def command(self, trainer: str, *, resume: bool = False) -> str:
        """Return the command that trains a teacher for this student."""
        return (
            f"nnUNetv2_train {self.plans['dataset_name']} {self.configuration} {self.fold} -tr {trainer} "
            f"-p {self.plans['plans_name']}{' --c' if resume else ''}"
        )


@dataclass(frozen=True)
class TeacherFolder:
    """An existing model folder: its files, and the trainer that the folder's name begins with."""

    folder: Path
    plans: dict[str, Any]
    dataset_json: dict[str, Any]
    trainer: str
    checkpoint: Path


def find_teacher(student: Student, choice: str) -> TeacherFolder:
    """Return the teacher's model folder.

    The environment variable nnUNet_missingmod_teacher overrides ``choice``. Either is ``"auto"``, the name of a
    trainer, or the path of a model folder.

    Raises:
        TeacherError: a file of the teacher is missing or cannot be read, or its training is not finished.
    """
    choice = os.environ.get(ENVIRONMENT_VARIABLE) or choice
    trainer = CONVENTIONAL_TEACHER if choice == "auto" else choice
    if os.sep in choice:
        folder = Path(choice).expanduser()
        trainer = folder.name.split("__")[0]
    else:
        name = f"{trainer}__{student.plans['plans_name']}__{student.configuration}"
        folder = student.results_folder / student.plans["dataset_name"] / name
    if trainer in PRETRAINERS:
        raise TeacherError(
            f"{trainer} cannot teach: it only pretrains, and its model segments nothing. Name another teacher; its "
            "weights serve as -pretrained_weights FOLD/pretrained_encoder.pth."
        )
    command = student.command(trainer)
    fold = folder / f"fold_{student.fold}"
    checkpoint = fold / "checkpoint_final.pth"
    if not checkpoint.is_file():
        raise TeacherError(_missing_teacher_message(folder, fold, student, trainer))
    plans, dataset_json = (_read_json(folder / name, command) for name in ("plans.json", "dataset.json"))
    return TeacherFolder(folder, plans, dataset_json, trainer, checkpoint)


def check_teacher(
    student: Student, teacher: TeacherFolder, *, teacher_configuration: Mapping[str, Any], trained_as: Mapping[str, Any]
) -> None:
    """Check that a teacher has the student's dataset, plans, configuration, channels, labels and fold.

    Args:
        student, teacher: the two to compare.
        teacher_configuration: the teacher's configuration with all that it inherits.
        trained_as: ``configuration`` and ``fold`` from the teacher's checkpoint.

    Raises:
        TeacherError: they differ; the message lists every difference and the command that trains the right teacher.
    """
    differences = list(_differences(student, teacher, teacher_configuration, trained_as))
    if differences:
        listed = "".join(f"\n  {what}: teacher {theirs}, student {ours}" for what, theirs, ours in differences)
        raise TeacherError(
            f"The teacher in {teacher.folder} was trained on something else than this student:{listed}\n"
            f"Train the right one with: {student.command(teacher.trainer)}"
        )


def _differences(
    student: Student,
    teacher: TeacherFolder,
    teacher_configuration: Mapping[str, Any],
    trained_as: Mapping[str, Any],
) -> Iterator[tuple[str, Any, Any]]:
    pairs = [
        ("dataset", teacher.plans.get("dataset_name"), student.plans["dataset_name"]),
        ("configuration", trained_as.get("configuration"), student.configuration),
        # A teacher of another fold was trained on cases that this student is validated on.
        ("fold", str(trained_as.get("fold")), str(student.fold)),
    ]
    for fields, theirs, ours, of in (
        (_DATASET_FIELDS, teacher.dataset_json, student.dataset_json, "dataset.json"),
        (_PLANS_FIELDS, teacher.plans, student.plans, "plans"),
        (_CONFIGURATION_FIELDS, teacher_configuration, student.resolved_configuration, "plans, configuration"),
    ):
        pairs += [(f"{field} ({of})", theirs.get(field), ours.get(field)) for field in fields]
    for what, theirs_value, ours_value in pairs:
        if _as_json(theirs_value) != _as_json(ours_value):
            yield what, theirs_value, ours_value


def _missing_teacher_message(folder: Path, fold: Path, student: Student, trainer: str) -> str:
    command = student.command(trainer)
    if fold.is_dir():
        begun = any(fold.glob("checkpoint_*.pth"))
        on = f"Continue with: {student.command(trainer, resume=True)}" if begun else f"Train it with: {command}"
        return f"The teacher in {fold} is not trained to its end (no checkpoint_final.pth). {on}"
    if folder.is_dir():
        others = sorted(other.name for other in folder.glob("fold_*"))
        return (
            f"The teacher in {folder} has no fold {student.fold} (it has: {', '.join(others) or 'none'}); another fold "
            f"has seen this one's validation cases. Train it with: {command}"
        )
    return (
        f"This student needs a teacher and there is none in {folder}. Train it with: {command}\n"
        f'or name another in the plans ("teacher" of the "missingmod" block) or in {ENVIRONMENT_VARIABLE}: a trainer, '
        f'or the path of a model folder (with "{os.sep}" in it).'
    )


def _read_json(file: Path, command: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TeacherError(f"Cannot read the teacher's {file}: {error}. Train it again with: {command}") from error
    return content


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
