"""Which modalities the preprocessed training cases have, and the wrapper that keeps augmentation from hiding absence.

The trainer reads and logs the first when a training starts, and wraps its augmentation by the second.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform

from nnunet_missingmod import absence
from nnunet_missingmod.absence import BoolArray
from nnunet_missingmod.plans_block import BLOCK
from nnunet_missingmod.preprocessing.blank_channels import Sliceable, constant_channels


class PreprocessedCases(Protocol):
    """The part of nnU-Net's dataset classes that `read_presence` uses."""

    source_folder: str
    identifiers: list[str]

    def load_case(self, identifier: str) -> Sequence[Any]:
        """Return a sequence whose first item is the case's array (C, X, Y, Z)."""


CASCADE_WARNING = (
    "WARNING: The previous stage's segmentation of a case is made from all modalities that the case has, also where "
    "some are dropped here: at prediction it comes from fewer, so that training and the pseudo Dice see better ones "
    "than prediction will."
)
"""What a training logs that drops modalities in a cascade's second stage."""


@dataclass(frozen=True)
class Presence:
    """The modalities that each training case has.

    Attributes:
        names: the J modality names in channel order.
        present: (N, J) bool, one row per case.
        blank: (N, J) bool, the absent ones that have a file, which is blank.
    """

    names: tuple[str, ...]
    present: BoolArray
    blank: BoolArray | None = None

    @property
    def num_complete(self) -> int:
        """The number of cases that have every modality."""
        return int(self.present.all(axis=1).sum())

    def report(self) -> Iterator[str]:
        """Yield the lines that a training logs about incomplete cases; none if all cases are complete."""
        if self.present.all():
            return
        counts = dict(zip(self.names, self.present.sum(axis=0).tolist(), strict=True))
        per_modality = ", ".join(f"{name} {count}" for name, count in counts.items())
        yield (
            f"{self.num_complete} of {len(self.present)} training cases have all modalities. "
            f"Cases per modality: {per_modality}."
        )
        if self.blank is not None and self.blank.any():
            of_each = dict(zip(self.names, self.blank.sum(axis=0).tolist(), strict=True))
            yield (
                f"Blank files count as absent (blank_is_absent) in {int(self.blank.any(axis=1).sum())} training cases: "
                f"{', '.join(f'{name} {count}' for name, count in of_each.items() if count)}."
            )
        for name, count in counts.items():
            if not count:
                yield f"WARNING: no training case has {name}: the model will not know what to do with it."

    def report_teaching(self, terms: Sequence[str]) -> Iterator[str]:
        """Yield the line that a training logs about the cases without a teacher.

        There is none if all cases are complete, or no term uses a teacher.

        Args:
            terms: the names of the loss terms that use the teacher.
        """
        taught = self.num_complete
        if taught == len(self.present) or not terms:
            return
        yield (
            f"{'' if taught else 'WARNING: '}The teacher teaches the {taught} of {len(self.present)} training cases "
            f"that have all of its modalities; of the others, these terms are left out: {', '.join(terms)}."
        )


def read_presence(cases: PreprocessedCases, names: Sequence[str]) -> Presence:
    """Return which modalities each case has, as this package's preprocessor recorded it.

    Cases from nnU-Net's own preprocessor have no such record and must be complete; of them, the blank channels are
    absent that `BlankMarkingDataset` finds.

    Raises:
        ValueError: a case was preprocessed by nnU-Net's own preprocessor from fewer files than there are modalities, or
            when modalities had other names.
    """
    present = np.ones((len(cases.identifiers), len(names)), dtype=bool)
    blank = np.zeros_like(present)
    for row, of_blank, case in zip(present, blank, cases.identifiers, strict=True):
        properties = pickle.loads(Path(cases.source_folder, f"{case}.pkl").read_bytes())
        if BLOCK in properties:
            has, blanks = properties[BLOCK]["present"], properties[BLOCK].get("blank", ())
            former = [name for name in (*has, *blanks) if name not in names]
            if former:
                raise ValueError(
                    f"Case {case!r} was preprocessed when a channel was called {', '.join(former)}; now the channels "
                    f"are {', '.join(names)}. Preprocess again with: nnunet_missingmod preprocess -d DATASET, or give "
                    "the channels in dataset.json their former names."
                )
            row[:] = [name in has for name in names]
            of_blank[:] = [name in blanks for name in names]
            continue
        data = cases.load_case(case)[0]
        if (channels := data.shape[0]) != len(names):
            raise ValueError(
                f"Case {case!r} was preprocessed with {channels} channels by a preprocessor that does not know absent "
                f"modalities; the dataset has {len(names)}: {', '.join(names)}. Plan and preprocess again with: "
                "nnunet_missingmod plan -d DATASET"
            )
        if isinstance(data, _MarkedArray):
            row[:], of_blank[:] = data.present, ~data.present
    return Presence(tuple(names), present, blank)


class BlankMarkingDataset:
    """One of nnU-Net's datasets; of the cases from nnU-Net's own preprocessor, the blank channels are marked absent.

    Which are blank is looked up once per case. A case that is blank in all channels is left as it is.
    """

    def __init__(self, dataset: PreprocessedCases) -> None:
        self.dataset = dataset
        self.source_folder = dataset.source_folder
        self.identifiers = dataset.identifiers
        self._present: dict[str, BoolArray] = {}

    def load_case(self, identifier: str) -> Sequence[Any]:
        """Return what nnU-Net's dataset does: images, segmentation, previous stage's segmentation, properties."""
        data, seg, previous, properties = self.dataset.load_case(identifier)
        if BLOCK in properties:
            return data, seg, previous, properties
        if identifier not in self._present:
            self._present[identifier] = ~constant_channels(data, seg)
        present = self._present[identifier]
        if present.any() and not present.all():
            data = _MarkedArray(data, present)
        return data, seg, previous, properties

    def __getitem__(self, identifier: str) -> Sequence[Any]:
        """Return the same as ``load_case``, as nnU-Net's datasets do."""
        return self.load_case(identifier)


class BlankMarkingDatasets:
    """Stands in for a dataset class of nnU-Net, whose datasets become `BlankMarkingDataset`."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.get_identifiers = host.get_identifiers
        self.unpack_dataset = host.unpack_dataset

    def __call__(self, *args: Any, **kwargs: Any) -> BlankMarkingDataset:
        """Open a dataset with the arguments of nnU-Net's class."""
        return BlankMarkingDataset(self.host(*args, **kwargs))


class _MarkedArray:
    """A preprocessed case that is read when it is sliced, with some channels marked absent."""

    def __init__(self, data: Sliceable, present: BoolArray) -> None:
        self.data = data
        self.present = present
        self.shape = data.shape

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return a part that has all channels."""
        part = np.array(self.data[index], dtype=np.float32)
        absence.mark_case(part, self.present)
        return part


class PresencePreservingTransform(BasicTransform):
    """Apply a transform to a sample whose ``image`` (C, *spatial) may have absent channels.

    The transform gets zeros in place of the marks, because interpolation would spread NaN and masking and padding would
    erase it. Afterwards the absent channels are marked in every voxel again. A complete sample is passed on as it is.
    """

    def __init__(self, transform: BasicTransform) -> None:
        super().__init__()
        self.transform = transform

    def __call__(self, **data_dict: Any) -> dict[str, Any]:
        """Transform one sample."""
        image: torch.Tensor = data_dict["image"]
        present = absence.read(image[None])
        if bool(present.all()):
            return self.transform(**data_dict)
        data_dict["image"] = absence.fill(image[None])[0]
        transformed: dict[str, Any] = self.transform(**data_dict)
        absence.mark(transformed["image"][None], present)
        return transformed
