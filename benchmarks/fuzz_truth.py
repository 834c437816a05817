"""What a fuzzed case truly is: its voxels, and what must come of it.

A mutation changes files on disk and says so in the case's ``Truth``: which voxels each modality then has, whether the
case must be refused, must be accepted, or may be either. "May be either" means that a reader is free to notice the
damage or to read the true voxels in spite of it; reading anything else is wrong. No mutation looks at what the package
under test makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tiny_model import NAMES, Array, write_image

ACCEPT, REFUSE, EITHER = "accept", "refuse", "either"


@dataclass
class Truth:
    """What is known of a case.

    Attributes:
        folder, name, ending: its files are ``folder/name_XXXX`` + ``ending``.
        arrays: {channel: voxels as they are on disk, in float32} of the modalities that count as present.
        must: what must come of it.
        names: a refusal must hold one of these strings, for each mutation that a file betrays by itself.
        relations: the same for mutations that only show beside another, good file; one of all must be held, unless a
            file that may be refused by itself has been.
        may_be_refused: channels whose file may be refused by itself.
        copies: {name: other} of a modality whose voxels are all those of an earlier one, if nothing else was done.
        mutations, details: what was done, for the tally.
    """

    folder: Path
    name: str
    ending: str
    arrays: dict[int, Array]
    must: str = ACCEPT
    names: list[tuple[str, ...]] = field(default_factory=list)
    relations: list[tuple[str, ...]] = field(default_factory=list)
    may_be_refused: set[int] = field(default_factory=set)
    copies: dict[str, str] = field(default_factory=dict)
    mutations: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def file(self, channel: int) -> Path:
        return self.folder / f"{self.name}_{channel:04d}{self.ending}"

    def refuse(self, channel: int, must: str = REFUSE, *, beside_another: bool = False) -> None:
        """Note that the case must be refused (or may be), naming the modality or its file."""
        order = (ACCEPT, EITHER, REFUSE)
        self.must = max(self.must, must, key=order.index)
        if must == EITHER:
            self.may_be_refused.add(channel)
        else:
            (self.relations if beside_another else self.names).append((NAMES[channel], self.file(channel).name))

    def is_named(self, message: str) -> bool:
        """Whether a refusal says what is wrong."""
        of_each = all(any(name in message for name in names) for names in self.names)
        if self.names or self.may_be_refused:
            return of_each
        return any(name in message for names in self.relations for name in names)


# Changes the files of one channel and returns True, or returns False if it does not apply to this case.
Mutation = Callable[[Truth, int, np.random.Generator], bool]


def is_nifti(truth: Truth) -> bool:
    return truth.ending in (".nii", ".nii.gz")


def put(truth: Truth, channel: int, array: Array) -> None:
    """Write other voxels and note them."""
    write_image(truth.file(channel), array, compress=truth.ending.endswith("gz"))
    truth.arrays[channel] = array.astype(np.float32)
