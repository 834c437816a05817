"""A prevalence file that the plans name: read when a training begins, and remembered from then on.

What it says lands in the plans that nnU-Net saves in the model folder and in every checkpoint, so that a training that
is continued draws as it began, wherever the file is by then and whatever it says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_missingmod.modalities import subset_name
from nnunet_missingmod.prevalence import PrevalenceError, read_prevalence

_MOST_DIFFERENCES = 4


@dataclass(frozen=True)
class PrevalenceFile:
    """What a prevalence file says now.

    Attributes:
        file: its path.
        weights: the count of each subset that has one above 0, by its name; empty if the file cannot be used.
        problem: why it cannot.
    """

    file: Path
    weights: Mapping[str, float]
    problem: PrevalenceError | None = None

    @classmethod
    def read(cls, named: str, folder: str | None, names: Sequence[str]) -> PrevalenceFile:
        """Read the file of this name; what is wrong with it becomes ``problem``.

        Args:
            named: its path, which may hold ``$VARIABLES`` and ``~``.
            folder: what a relative path is relative to; None for the folder in which the training was started.
            names: the modality names, in channel order.
        """
        file = Path(folder or "", os.path.expandvars(named)).expanduser()
        if not file.is_absolute():
            file = file.absolute()
        try:
            counts = read_prevalence(file, names)
        except PrevalenceError as error:
            return cls(file, {}, PrevalenceError(f'"modality_subsets" of the plans: {error}'))
        return cls(file, {subset_name(subset, names): count for subset, count in counts.items() if count})

    def notice(self, began: Mapping[str, float]) -> str | None:
        """Return the line for the log of a training that is continued with the weights that it began with.

        Returns:
            None if the file says the same.
        """
        kept = "This training goes on with the subsets that it began with, which it remembers."
        if self.problem is not None:
            return f"{kept} It cannot use the file as it is now: {self.problem}"
        differences = [
            f"{name} was {began.get(name, 0)}, is {self.weights.get(name, 0)}"
            for name in {**began, **self.weights}
            if began.get(name, 0) != self.weights.get(name, 0)
        ]
        if not differences:
            return None
        more = len(differences) - _MOST_DIFFERENCES
        listed = "; ".join(differences[:_MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        return (
            f"WARNING: {self.file} says something else than when this training began ({listed}). {kept} For those of "
            "the file, train anew without --c."
        )
