"""The rule of BraTS entrants that a region predicted with very few voxels is taken back, scored beside the raw one.

Where a case has no enhancing tumour, one false voxel turns a Dice of 1 into 0; entrants therefore relabel enhancing
tumour as necrotic core where they predict less of it than some threshold (500 voxels, say), chosen on validation data.
That moves the mean by several points and is no merit of the network, so that it stands under a name of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf, nan

from nnunet_missingmod.evaluation.scores import ScoreRow


def rule_name(region: str, voxels: int) -> str:
    """Return what the region is called under the rule, ``"ET ≥ 500"``."""
    return f"{region} ≥ {voxels}"


def with_least_size(rows: Iterable[ScoreRow], *, region: str, voxels: int) -> list[ScoreRow]:
    """Return the rows, followed by those of ``region`` again with predictions below ``voxels`` taken as empty.

    The measurements tell all that is needed: no image is read. The relabelled voxels stay in every region that holds
    both labels, so that WT and TC of BraTS are what they were; a region of necrotic core alone would not be.

    Raises:
        ValueError: ``voxels`` is below 1, or no row is of that region.
    """
    if voxels < 1:
        raise ValueError(f"The rule's threshold is 1 voxel or more, got {voxels}.")
    kept = list(rows)
    ruled = [_applied(row, voxels) for row in kept if row.region == region]
    if not ruled:
        raise ValueError(f"There is no region {region!r}; the regions are {', '.join({r.region: 0 for r in kept})}.")
    return kept + [replace(row, region=rule_name(region, voxels)) for row in ruled]


def _applied(row: ScoreRow, voxels: int) -> ScoreRow:
    if row.predicted_voxels >= voxels or row.predicted_voxels == 0:
        return row
    if row.reference_voxels == 0:
        return replace(row, predicted_voxels=0, dice=nan, hd95_mm=nan, nsd=nan)
    return replace(row, predicted_voxels=0, dice=0.0, hd95_mm=inf, nsd=0.0)
