"""The columns of tables and figures: subsets of modalities in the order of the papers, or by number present."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from nnunet_missingmod.modalities import Subset, all_subsets, subset_name

# The column order of the missing-modality literature on BraTS, from RFNet (Ding et al. 2021) on.
_BRATS_ORDER = (
    ("flair",),
    ("t2",),
    ("t1ce",),
    ("t1",),
    ("t2", "flair"),
    ("t1ce", "flair"),
    ("t1ce", "t2"),
    ("t1", "flair"),
    ("t1", "t2"),
    ("t1", "t1ce"),
    ("flair", "t1ce", "t2"),
    ("flair", "t1", "t2"),
    ("flair", "t1", "t1ce"),
    ("t1", "t1ce", "t2"),
    ("flair", "t1", "t1ce", "t2"),
)


@dataclass(frozen=True)
class Column:
    """A column of a table: the mean over ``subsets`` of the mean over cases."""

    heading: str
    subsets: tuple[Subset, ...]

    def is_subset_of(self, modalities: Sequence[str]) -> bool:
        """Return whether the column stands for one subset under its own name, so that dots can say which."""
        return len(self.subsets) == 1 and self.heading == subset_name(self.subsets[0], modalities)


def ordered_subsets(modalities: Sequence[str]) -> list[Subset]:
    """Return every subset of channels in the order of the papers' columns.

    For FLAIR, T1, T1ce and T2 (any channel order, any case of letters) that is: the single modalities FLAIR, T2, T1ce,
    T1; the pairs; all but T1, T1ce, T2, FLAIR; all four. For other modalities it is the order of `all_subsets`.
    """
    channel = {name.casefold(): position for position, name in enumerate(modalities)}
    if len(modalities) == 4 and set(channel) == set(_BRATS_ORDER[-1]):
        return [tuple(sorted(channel[name] for name in names)) for names in _BRATS_ORDER]
    return all_subsets(len(modalities))


def subset_columns(modalities: Sequence[str], *, scored: Collection[Subset] | None = None) -> tuple[Column, ...]:
    """Return a column for every subset, in the order of `ordered_subsets`, and their average.

    With ``scored`` only those subsets have a column; the average then says of how many it is.
    """
    subsets = [subset for subset in ordered_subsets(modalities) if scored is None or subset in scored]
    single = [Column(subset_name(subset, modalities), (subset,)) for subset in subsets]
    is_complete = len(subsets) == 2 ** len(modalities) - 1
    return (*single, Column("average" if is_complete else f"average of {len(subsets)}", tuple(subsets)))


def count_columns(modalities: Sequence[str], *, scored: Collection[Subset] | None = None) -> tuple[Column, ...]:
    """Return a column for every number of present modalities, averaging the subsets of that size, and the average.

    With ``scored``, columns that lack one of their subsets are left out, since they could not be compared with others.
    """
    subsets = all_subsets(len(modalities))
    by_size = [
        Column(f"{size} of {len(modalities)}", tuple(subset for subset in subsets if len(subset) == size))
        for size in range(1, len(modalities) + 1)
    ]
    columns = (*by_size, Column("average", tuple(subsets)))
    return tuple(column for column in columns if scored is None or set(column.subsets) <= set(scored))
