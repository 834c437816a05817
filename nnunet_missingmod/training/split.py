"""Which cases a model was trained on: the split of a training, in its fold's folder and in its checkpoints.

nnU-Net reads splits_final.json anew for every training, continuation and validation, and keeps no copy of it. The
trainers write the split that they use, so that validation never takes a case that the model was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nnunet_missingmod.storage import read_json_object, write_text

SPLIT_FILE = "split.json"


class SplitError(ValueError):
    """A split cannot be read, or mixes training and validation cases of an earlier one; the message says what to do."""


class Split(NamedTuple):
    """The cases of one fold; with fold ``all`` every case is in both.

    Attributes:
        train: the cases that the model was trained on.
        val: the cases that it is validated on.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]

    def as_json(self) -> dict[str, list[str]]:
        """Return the content of ``split.json``: ``{"train": [...], "val": [...]}``."""
        # nnU-Net may hold names as numpy strings, which a checkpoint should not.
        return {"train": [str(case) for case in self.train], "val": [str(case) for case in self.val]}

    def trained_on(self, cases: Iterable[str]) -> list[str]:
        """Return those of the cases that the model was trained on and that were not its validation cases."""
        return sorted(set(cases) & (set(self.train) - set(self.val)))

    def check_continued_by(self, now: Split, *, source: str) -> None:
        """Check that ``now`` takes no training case of this split for validation, and no validation case for training.

        Cases may be added or left out.

        Args:
            source: where this split is kept, for the message.

        Raises:
            SplitError: it does; the message names the cases.
        """
        leaked = self.trained_on(set(now.val) - set(now.train))
        taken = sorted(set(now.train) & (set(self.val) - set(self.train)))
        found = [
            f"{', '.join(cases)} {was}"
            for cases, was in (
                (leaked, "would be validated on, but the model was trained on them"),
                (taken, "would be trained on, but the model was validated on them"),
            )
            if cases
        ]
        if found:
            raise SplitError(
                f"splits_final.json was changed after this training began: {'; '.join(found)}. Put the cases back as "
                f"in {source}, or train anew without --c."
            )

    def continued_by(self, now: Split) -> Split:
        """Return the split of a training that goes on with ``now``: what was trained on stays so."""
        return Split(tuple(sorted({*self.train, *now.train})), now.val)


def parse_split(content: Any) -> Split:
    """Return the split in a JSON value or a checkpoint.

    Raises:
        SplitError: it is not ``{"train": [...], "val": [...]}`` with names of cases.
    """
    parts: list[Any] = [content.get(name) for name in Split._fields] if isinstance(content, Mapping) else [None]
    if not all(isinstance(part, list) and all(isinstance(case, str) for case in part) for part in parts):
        raise SplitError('A split is {"train": [...], "val": [...]} with the names of cases.')
    train, val = parts
    return Split(tuple(train), tuple(val))


def write_split(folder: Path, train: Iterable[str], val: Iterable[str]) -> None:
    """Write ``split.json`` into a fold's folder, completely or not at all."""
    split = Split(tuple(train), tuple(val))
    write_text(folder / SPLIT_FILE, json.dumps(split.as_json(), indent=2) + "\n")


def read_split(folder: Path) -> Split | None:
    """Return the split in a fold's folder; None if it has none, as those of stock nnU-Net.

    Raises:
        SplitError: the file cannot be read.
    """
    file = folder / SPLIT_FILE
    if not file.exists():
        return None
    try:
        return parse_split(read_json_object(file))
    except ValueError as error:
        raise SplitError(
            f"{file} cannot be read ({error}). Restore it, or delete it: then it is not known what was trained on."
        ) from error
