"""An input folder for ``nnUNetv2_predict`` that holds every subset of modalities of complete cases.

One prediction command then segments all of them, so that nnU-Net starts once and not once per subset.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from nnunet_missingmod.cases.files import CaseRefusedError, assign_channels, case_name
from nnunet_missingmod.modalities import Subset, all_subsets, subset_name


def write_subset_folder(
    complete: Path, target: Path, *, names: Sequence[str], file_ending: str, subsets: Sequence[Subset] | None = None
) -> dict[tuple[str, str], str]:
    """Fill ``target`` with ``CASE__SUBSET_XXXX`` files, links to those of the complete cases.

    Args:
        complete: folder of cases ``CASE_XXXX`` that have all modalities.
        target: made if need be; files that are there already are left.
        names: the J modality names in channel order.
        subsets: of channels; all ``2**J - 1`` by default.

    Returns:
        {(case, subset name): the stem ``CASE__SUBSET`` of its prediction}.

    Raises:
        CaseRefusedError: a case lacks a modality, or its files are not named as they should be.
        FileNotFoundError: there is no case.
    """
    by_case: dict[str, list[Path]] = {}
    for file in sorted(complete.glob(f"*{file_ending}")):
        by_case.setdefault(case_name(file, file_ending), []).append(file)
    if not by_case:
        raise FileNotFoundError(f"There is no case in {complete}: expected files *_0000{file_ending} and so on.")
    target.mkdir(parents=True, exist_ok=True)
    stems = {}
    for case, files in by_case.items():
        assigned = assign_channels(files, names, file_ending)
        lacking = [name for channel, name in enumerate(names) if channel not in assigned]
        if lacking:
            raise CaseRefusedError(case, f"it lacks {', '.join(lacking)}; all subsets need a complete case.")
        for subset in subsets or all_subsets(len(names)):
            stem = f"{case}__{'-'.join(map(str, subset))}"
            stems[case, subset_name(subset, names)] = stem
            for channel in subset:
                _link(assigned[channel], target / f"{stem}_{channel:04d}{file_ending}")
    return stems


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
