"""Which channels of a raw case are present, and whether their voxels may be used."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnunet_missingmod import absence
from nnunet_missingmod.preprocessing.case_files import CaseRefusedError
from nnunet_missingmod.preprocessing.read_case import Image

logger = logging.getLogger(__name__)


class Judgement(NamedTuple):
    """What becomes of one channel of a raw case.

    Attributes:
        present: whether it counts as present.
        blank: whether all its voxels have one value, and it therefore counts as absent.
        zeroed: number of NaN and infinite voxels that become 0.
        problem: a sentence that names modality and fix if it is refused, else None.
    """

    present: bool
    blank: bool = False
    zeroed: int = 0
    problem: str | None = None


def judge_channel(image: Image, name: str, *, blank_is_absent: bool, nonfinite: str, replaced: int = 0) -> Judgement:
    """Decide whether a channel (X, Y, Z) of a raw case is present, blank, or refused for its NaN or infinite voxels.

    A channel that is NaN in every voxel carries the absence mark. With ``blank_is_absent`` one whose voxels all have
    one value is blank. Other NaN or infinite voxels are refused, or become 0 with ``nonfinite="zero"``.

    Args:
        replaced: number of such voxels that the reader has already set to 0; they are judged alike.
    """
    finite = np.isfinite(image)
    if not finite.any() and np.isnan(image).all():
        return Judgement(present=False)
    count = max(int(image.size - finite.sum()), replaced)
    if count and nonfinite == "refuse":
        return Judgement(
            present=True,
            problem=f"{name} has {count} NaN or infinite voxels of {image.size}. Mend the file, or set "
            '"nonfinite": "zero" in the plans\' "missingmod" block (predict: --nonfinite zero) to replace them by 0.',
        )
    # What is not finite becomes 0, so a channel with such voxels is blank if all its others are 0.
    values = np.where(finite, image, 0) if count else image
    blank = blank_is_absent and bool(values.min() == values.max())
    return Judgement(present=not blank, blank=blank, zeroed=count)


def admit(
    data: Image,
    names: Sequence[str],
    *,
    case: str,
    blank_is_absent: bool,
    nonfinite: str,
    replaced: Mapping[str, int] | None = None,
) -> tuple[absence.BoolArray, dict[str, Any]]:
    """Decide which channels of a raw case (J, X, Y, Z) are present, and make those finite, in place.

    Each channel is judged by ``judge_channel``.

    Args:
        replaced: {name: number} of NaN and infinite voxels that the reader has already set to 0.

    Returns:
        ``present`` (J,) and a report for the case's properties: the names present, the names blank, and
        {name: number of voxels set to 0}.

    Raises:
        CaseRefusedError: no channel is present, or some have NaN or infinite voxels.
    """
    present = np.ones(len(data), dtype=bool)
    blank, zeroed, problems = [], {}, []
    for channel, (image, name) in enumerate(zip(data, names, strict=True)):
        judged = judge_channel(
            image, name, blank_is_absent=blank_is_absent, nonfinite=nonfinite, replaced=(replaced or {}).get(name, 0)
        )
        present[channel] = judged.present
        if judged.problem:
            problems.append(judged.problem)
            continue
        if judged.zeroed:
            image[~np.isfinite(image)] = 0
            zeroed[name] = judged.zeroed
            logger.warning("Case %r: %d NaN or infinite voxels of %s were set to 0.", case, judged.zeroed, name)
        if judged.blank:
            blank.append(name)
            logger.warning(
                "Case %r: %s is blank (every voxel is %g) and counts as absent.", case, name, float(image.flat[0])
            )
    if problems:
        raise CaseRefusedError(case, " ".join(problems))
    if not present.any():
        reason = f"{', '.join(blank)} blank, the others absent" if blank else "no modality is present"
        raise CaseRefusedError(case, f"{reason}. Give at least one of: {', '.join(names)}.")
    report = {
        "present": [name for name, there in zip(names, present, strict=True) if there],
        "blank": blank,
        "nonfinite_zeroed": zeroed,
    }
    return present, report
