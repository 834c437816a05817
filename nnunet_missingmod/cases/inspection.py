"""Every file of a raw dataset read once: which case has which modality, what is wrong, and how that is written down."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_missingmod.cases.dataset import DatasetError, dataset_problems, find_raw_cases, label_values
from nnunet_missingmod.cases.files import describe_channels, find_cases
from nnunet_missingmod.cases.integrity import is_readable_name
from nnunet_missingmod.cases.labels import read_label_file
from nnunet_missingmod.cases.preflight import CaseReader, check_case, check_cases
from nnunet_missingmod.errors import listed
from nnunet_missingmod.modalities import channel_names, subset_name
from nnunet_missingmod.plans_block import resolve


@dataclass(frozen=True)
class InspectedCase:
    """One line of the table.

    Attributes:
        split: ``Tr`` or ``Ts``; ``-`` of another folder.
        case: its name.
        present: the modalities that count as present.
        blank: those whose file is there but has one value in every voxel.
        unusable: those whose file is there but cannot be read.
        problems: everything that is wrong with its files, each with the fix.
        in_one_file: whether one file holds all its channels, as an RGB picture does.
    """

    split: str
    case: str
    present: tuple[str, ...]
    blank: tuple[str, ...]
    unusable: tuple[str, ...]
    problems: tuple[str, ...]
    in_one_file: bool = False


def inspect_dataset(
    folder: Path, dataset_json: Mapping[str, Any], *, images: Path | None = None, processes: int = 1
) -> tuple[list[InspectedCase], list[str]]:
    """Read every file of a raw dataset, in so many processes.

    Args:
        folder: of the dataset.
        dataset_json: its content.
        images: another folder of images of its modalities, whose cases are inspected in place of the dataset's.
        processes: how many read at once.

    Returns:
        The cases of ``imagesTr`` and ``imagesTs``, and what is wrong beside them.

    Raises:
        DatasetError: nnU-Net has no reader for its files.
    """
    ending = dataset_json["file_ending"]
    names, choices = channel_names(dataset_json), resolve(None)
    if images is None:
        given, label_files = find_raw_cases(folder, dataset_json)
        problems = dataset_problems(folder, dataset_json, given, label_files)
    else:
        given, label_files = [("-", case) for case in find_cases(images, names, ending)], {}
        problems = [] if given else [f"{images} has no image. Expected: {describe_channels(names, ending)}."]
    reader = reader_of(folder, dataset_json, [file for _, case in given for file in case.files.values()])
    inspected = []
    check_one = partial(check_case, names=names, reader=reader, file_ending=ending, choices=choices)
    checks = check_cases([case for _, case in given], check_one, processes=processes)
    for (split, case), check in zip(given, checks, strict=True):
        wrong = list(check.problems)
        wrong += [
            f"{name} holds the same voxels as {other}. Put the right file in its place, or remove it."
            for name, other in check.copies.items()
        ]
        label = label_files.get((split, case.case))
        if label is not None and check.grid is not None:
            try:
                read_label_file(
                    label,
                    reader,
                    check.grid,
                    tolerance_voxels=choices["geometry_tolerance_voxels"],
                    labels=label_values(dataset_json),
                )
            except ValueError as error:
                wrong.append(f"The label map {error}. Replace it, or remove the case.")
        present, blank = check.present, check.blank
        unusable = tuple(names[channel] for channel in case.files if names[channel] not in (*present, *blank))
        in_one_file = list(case.files) == [0] and len(present) + len(blank) > 1
        inspected.append(InspectedCase(split, case.case, present, blank, unusable, tuple(wrong), in_one_file))
    return inspected, problems + _mixed_forms(inspected)


def _mixed_forms(cases: Sequence[InspectedCase]) -> list[str]:
    """What is wrong if some cases are one file of all channels (RGB), and others a file per modality."""
    in_one = [case.case for case in cases if case.in_one_file]
    apart = [case.case for case in cases if not case.in_one_file and case.present]
    if not in_one or not apart:
        return []
    fewer, form = min((in_one, "one file of all channels"), (apart, "a file per modality"), key=lambda one: len(one[0]))
    number = f"{len(fewer)} of {len(in_one) + len(apart)} cases {'is' if len(fewer) == 1 else 'are'}"
    return [f"{number} {form}, unlike the others: {listed(fewer)}. Save all alike."]


def reader_of(folder: Path, dataset_json: Mapping[str, Any], files: Sequence[Path]) -> CaseReader:
    """Return nnU-Net's reader of these files, of the dataset of that folder.

    nnU-Net tries one file, which may be the broken one, and prints what happens.

    Raises:
        DatasetError: it has no reader for files of this ending.
    """
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    for example in [*(str(file) for file in files if is_readable_name(file)), None]:
        with contextlib.suppress(RuntimeError), contextlib.redirect_stderr(io.StringIO()):
            reader: CaseReader = determine_reader_writer_from_dataset_json(dataset_json, example, verbose=False)()
            return reader
    ending = dataset_json["file_ending"]
    raise DatasetError(f'{folder / "dataset.json"}: no reader of nnU-Net knows "file_ending" {ending!r}.')


def describe(cases: Sequence[InspectedCase], problems: Sequence[str], names: Sequence[str]) -> str:
    """Return the report: the table, how many cases have which subset, and everything that is wrong."""
    width = max([len("case"), *(len(case.case) for case in cases)])
    # A line break in a name would tear the table.
    shown = ["".join(letter if letter.isprintable() else " " for letter in name) for name in names]
    lines = [f"{'case':{width}}  split  " + "  ".join(shown)]
    for case in cases:
        marks = [_mark(case, name).center(len(name)) for name in names]
        lines.append(f"{case.case:{width}}  {case.split:5}  {'  '.join(marks)}".rstrip())
    lines += [
        "x present, b there but blank (counts as absent), ! there but unusable, . absent",
        "",
        " cases  split  modalities",
    ]
    subsets = Counter((case.split, tuple(names.index(name) for name in case.present)) for case in cases)
    for (split, subset), count in sorted(subsets.items(), key=lambda item: (item[0][0], -item[1], item[0][1])):
        lines.append(f"{count:6}  {split:5}  {subset_name(subset, shown) if subset else 'none'}")
    wrong = [f"{case.case}: {problem}" for case in cases for problem in case.problems] + list(problems)
    number = f"{len(wrong)} problem{'s' * (len(wrong) != 1)}"
    lines += ["", f"{number}:" if wrong else "Nothing is wrong with the files.", *(f"- {line}" for line in wrong)]
    return "\n".join(lines)


def _mark(case: InspectedCase, name: str) -> str:
    if name in case.present:
        return "x"
    return "b" if name in case.blank else "!" if name in case.unusable else "."
